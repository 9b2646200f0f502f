"""A quiz as a form in a page, from the same questions as everywhere."""

from html import escape

from lab.quizzes.quizzes import WORDS


def form(name, questions, language="en"):
    """The questions as HTML inside Markdown; static/quiz.js plays them."""
    fields = "\n".join(
        question_field(f"{name}-{language}-{number}", number, question)
        for number, question in enumerate(questions, start=1))
    _, right, wrong = WORDS[language]
    return (f'```{{raw}} html\n<form class="quiz" lang="{language}" '
            f'data-right="{right}" data-wrong="{wrong}">\n{fields}\n'
            '</form>\n```\n')


def question_field(name, number, question):
    """One question with its choices, and room for what is said of them."""
    choices = "\n".join(
        f'<label><input type="radio" name="{name}" '
        f'data-correct="{str(choice["correct"]).lower()}" '
        f'data-feedback="{escape(choice["feedback"])}"> '
        f'<span>{escape(choice["answer"])}</span></label>'
        for choice in question["answers"])
    return (f'<fieldset><legend>{number}. {escape(question["question"])}'
            f'</legend>\n{choices}\n<p role="status"></p>\n</fieldset>')
