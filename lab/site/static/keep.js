// Keep the pages on this device, so that they work without a connection.
navigator.serviceWorker?.register(new URL("../sw.js", import.meta.url));
