package job

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxFileName = 200 // bytes

// File is an upload that came with a trigger and is stored already.
type File struct {
	// Name is what the client called it. A path is cut to its last element (see [FileName]).
	Name string
	// Ref names the stored content; it means something to who stored it.
	Ref string
	// Size is in bytes.
	Size int64
}

// FileName makes a file's name out of what a client called its file: the part
// after the last slash or backslash, as valid UTF-8 without control
// characters, cut to 200 bytes. If that leaves nothing, "." or "..", it is
// "file". What it gave once, it gives back unchanged.
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
