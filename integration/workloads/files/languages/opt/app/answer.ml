let () = print_endline ("answer " ^ Sys.argv.(1))
