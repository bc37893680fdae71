package azureml

import "io/fs"

// trusted is true: nobody else may write to the folders above a user's.
func trusted(fs.FileInfo, string) bool { return true }
