// Say of a chosen answer whether it is right, and why.
for (const quiz of document.querySelectorAll("form.quiz")) {
  quiz.addEventListener("change", ({target}) => {
    const {correct, feedback} = target.dataset;
    const told = target.closest("fieldset").querySelector("[role=status]");
    told.className = correct === "true" ? "right" : "wrong";
    told.textContent = (correct === "true" ? "✓ " : "✗ ") + feedback;
  });
}
