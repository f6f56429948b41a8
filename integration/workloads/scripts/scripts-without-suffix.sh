while more; do
    equal sh "step $rounds" "$(sh /opt/app/step "$rounds")"
    equal source "step $rounds" "$(bash -c '. /opt/app/step' sh "$rounds")"
    equal python "step $rounds" "$(python3 -B /opt/app/python-step "$rounds")"
    equal perl "step $rounds" "$(perl /opt/app/perl-step "$rounds")"
    equal bats "step $rounds" "$(bash /opt/app/check.bats "$rounds")"
    equal zip "step $rounds" "$(python3 -B /opt/app/app.zip "$rounds")"
    ln -sfn /opt/app /tmp/current
    equal link "step $rounds" "$(perl /tmp/current/perl-step "$rounds")"
done
