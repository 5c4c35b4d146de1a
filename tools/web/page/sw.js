const x = ["SHELL", "VERSION"];
