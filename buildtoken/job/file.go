package job

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxFileName = 200 // bytes

// PendingRef is the reference of a file that is not stored yet.
const PendingRef = "pending"

// File is an upload that came with a trigger.
type File struct {
	// Name is what the client called it. A path is cut to its last element (see [FileName]).
	Name string
	// Ref identifies the stored content for the package that stored it.
	Ref string
	// Size is in bytes.
	Size int64
}

// FileName returns a safe file name for the name that a client sent: the part
// after the last slash or backslash, as valid UTF-8 without control characters,
// cut to 200 bytes. If that is empty, "." or "..", the name is "file". FileName
// returns its own results unchanged.
func FileName(client string) string {
	client = client[strings.LastIndexAny(client, `/\`)+1:]
	var name strings.Builder
	for _, r := range client {
		if unicode.IsControl(r) || r == utf8.RuneError {
			continue
		}
		if name.Len()+utf8.RuneLen(r) > maxFileName {
			break
		}
		name.WriteRune(r)
	}
	switch name.String() {
	case "", ".", "..":
		return "file"
	}
	return name.String()
}
