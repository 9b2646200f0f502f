"""The lesson as a website, with the network in the page."""
