package cli

func giveToOwner(path, root string) error { return nil }
