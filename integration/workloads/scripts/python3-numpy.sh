while more; do
    equal numpy '285 [2. 3.] True' "$(python3 -B <<'END'
import numpy as np
a = np.arange(10); m = np.array([[2.0, 1.0], [1.0, 3.0]])
r = np.random.default_rng(1).normal(size=(200, 200))
print((a * a).sum(), np.linalg.solve(m, m @ np.array([2.0, 3.0])).round(6), np.allclose(np.linalg.inv(r) @ r, np.eye(200)))
END
)"
done
