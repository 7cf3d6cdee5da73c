//go:build unix

package execrunner

import "os"

// OwnerOf returns the id of a file's owner.
func OwnerOf(st os.FileInfo) int { return ownerOf(st) }

// CloseListedOnExec marks the descriptors that the directory lists.
func CloseListedOnExec(dir string) { closeListedOnExec(dir) }
