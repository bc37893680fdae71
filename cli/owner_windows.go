package cli

func giveToOwner(path, root string) {}
