"""How Sphinx makes the site; `python -m lab.site` starts it."""

project = "Semantic segmentation"
html_title = project
extensions = ["myst_parser", "sphinx_design"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("quiz.js", {"defer": "defer"}),
                 ("keep.js", {"type": "module"})]
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}
html_copy_source = False
html_theme_options = {"use_download_button": False,
                      "use_fullscreen_button": False,
                      "show_toc_level": 2,
                      "footer_content_items": [],
                      # The search stands beside the pages already.
                      "navbar_persistent": [], "navbar_start": [],
                      "navbar_center": [], "navbar_end": []}
