"""Settings of nbgrader for this folder, which is its course directory."""

c = get_config()  # noqa: F821  (nbgrader defines it)

c.CourseDirectory.course_id = "segmentation"
c.CourseDirectory.source_directory = "solutions"
# The check says what to do, so an empty answer need not be an error.
c.ClearSolutions.code_stub = {"python": "# YOUR CODE HERE"}
c.ExecutePreprocessor.timeout = 1800  # seconds for a cell: two trainings
