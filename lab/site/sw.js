// Keeps the pages that were visited, and all that "Try it" needs. What is
// in braces is filled in when the site is built.

const LESSON = "segmentation-lesson ";  // other sites may share the host
const NAME = LESSON + "{version}";
const NEEDED = {needed};

self.addEventListener("install", event => event.waitUntil(
  caches.open(NAME).then(cache => cache.addAll(NEEDED))
    .then(() => self.skipWaiting())));

self.addEventListener("activate", event => event.waitUntil(
  caches.keys().then(names => Promise.all(
    names.filter(name => name.startsWith(LESSON) && name !== NAME)
      .map(name => caches.delete(name))))
    .then(() => self.clients.claim())));

self.addEventListener("fetch", event => {
  const {method, url} = event.request;
  if (method === "GET" && url.startsWith(self.registration.scope)) {
    event.respondWith(answer(event.request));
  }
});

async function answer(request) {
  const cache = await caches.open(NAME);
  const kept = await cache.match(request, {ignoreSearch: true});
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) cache.put(request, response.clone());
  return response;
}
