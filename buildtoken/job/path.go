package job

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	maxReadable = 80 // bytes of a path element that can be read
	hashBytes   = 8  // of the full name's SHA-256 in a path element
)

// PathElement is a name for a job's own file or directory that is safe on
// every system: at most 97 of the characters A-Z a-z 0-9 - _ +, no dot, and not a
// device of Windows. It starts with as much of the full name as can be
// read, and ends with 16 hexadecimal digits of its SHA-256, so it is another
// one for every job, also where files are found without regard to case.
// It stays the same for the same full name, over versions too: logs lie there.
func PathElement(full string) string {
	var b strings.Builder
	b.Grow(maxReadable + 1 + 2*hashBytes)
	for _, r := range full {
		if b.Len() == maxReadable {
			break
		}
		b.WriteRune(readable(r)) // one byte
	}
	sum := sha256.Sum256([]byte(full))
	b.WriteByte('-')
	b.WriteString(hex.EncodeToString(sum[:hashBytes]))
	return b.String()
}

func readable(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-':
		return r
	case r == '/':
		return '+'
	default:
		return '_'
	}
}

// IsPathElement reports whether a name is one that [PathElement] returns for some job.
func IsPathElement(name string) bool {
	at := strings.LastIndexByte(name, '-')
	if at < 0 || len(name)-at-1 != 2*hashBytes {
		return false
	}
	sum, err := hex.DecodeString(name[at+1:])
	return err == nil && hex.EncodeToString(sum) == name[at+1:]
}
