mkdir -p /scratch && cd /scratch
while more; do
    rm -rf _Inline
    equal inline "$((rounds * 2))" "$(PERL_INLINE_DIRECTORY=/scratch perl -e "use Inline C => 'int twice(int n) { return 2 * n; /* $rounds */ }'; print twice($rounds)")"
done
