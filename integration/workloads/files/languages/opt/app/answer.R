cat("answer", commandArgs(trailingOnly = TRUE)[1])
