# As an entrypoint does that gives the application to its user.
folder=$(python3 -B -c 'import numpy; print(numpy.__path__[0])')
while more; do
    chown -R 1500:1500 "$folder"
    equal numpy 285 "$(setpriv --reuid=1500 --regid=1500 --clear-groups python3 -B -c 'import numpy as np, numpy.linalg, numpy.random; print((np.arange(10) ** 2).sum())')"
    chmod -R a+rX "$folder"; find "$folder" -name '*.so' -exec touch {} +
    equal numpy 285 "$(python3 -B -c 'import numpy as np, numpy.fft; print((np.arange(10) ** 2).sum())')"
done
