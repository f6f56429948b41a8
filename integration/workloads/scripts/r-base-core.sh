mkdir -p /scratch && cd /scratch
while more; do
    equal model '3 2' "$(Rscript -e '
x <- 1:20; m <- lm(y ~ x, data.frame(x = x, y = 2 * x + 3 + sin(x) * 1e-6)); cat(round(coef(m), 2))')"
    equal script "answer $rounds" "$(Rscript /opt/app/answer.R "$rounds")"
done
