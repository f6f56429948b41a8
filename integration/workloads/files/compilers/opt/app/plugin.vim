function! Answer(n)
  return 'answer ' . a:n
endfunction
