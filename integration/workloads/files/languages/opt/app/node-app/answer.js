console.log("answer " + process.argv[2]);
