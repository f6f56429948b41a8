function answer
    echo "answer $argv[1]"
end
