package job

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrBadName is returned for a text that cannot be the name of a job or folder.
var ErrBadName = errors.New("job: bad name")

// Limits of names, in bytes.
const (
	MaxName     = 200  // one job or folder
	MaxFullName = 2000 // all of them, with the slashes between
)

// CheckName returns [ErrBadName] unless the name of a folder or job is valid
// UTF-8 of 1 to [MaxName] bytes, without slashes and control characters, and
// neither "." nor "..". White space is significant, also around the name.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("%w: it is empty", ErrBadName)
	case len(name) > MaxName:
		return fmt.Errorf("%w: %d bytes, at most %d", ErrBadName, len(name), MaxName)
	case name == "." || name == "..":
		return fmt.Errorf("%w: %q", ErrBadName, name)
	case !utf8.ValidString(name):
		return fmt.Errorf("%w %q: it is not valid UTF-8", ErrBadName, name)
	case strings.Contains(name, "/"):
		return fmt.Errorf("%w %q: it holds a slash", ErrBadName, name)
	case strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("%w %q: it holds a control character", ErrBadName, name)
	}
	return nil
}

// ParseFullName returns the normal form of a full name in a request: empty
// elements are dropped, so "/a//b/" is "a/b", as in Jenkins. It returns
// [ErrBadName] unless there is at least one element, each is a name (see
// [CheckName]), and the result has at most [MaxFullName] bytes. It does not
// check whether the job exists.
func ParseFullName(s string) (string, error) {
	if len(s) > 2*MaxFullName {
		// Most of it would be slashes.
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrBadName, len(s), MaxFullName)
	}
	size := -1 // of the result
	for element := range strings.SplitSeq(s, "/") {
		if element == "" {
			continue
		}
		if err := CheckName(element); err != nil {
			return "", err
		}
		size += 1 + len(element)
	}
	switch {
	case size < 0:
		return "", fmt.Errorf("%w: it is empty", ErrBadName)
	case size > MaxFullName:
		return "", fmt.Errorf("%w: %d bytes, at most %d", ErrBadName, size, MaxFullName)
	case size == len(s):
		return s, nil
	}
	elements := slices.DeleteFunc(strings.Split(s, "/"), func(element string) bool { return element == "" })
	return strings.Join(elements, "/"), nil
}

// ShownName returns a job name from a request as logs can show it: at most 200
// bytes, and only what stands before the first of ?, #, & and =. A token can
// follow these if a client built its URL wrongly.
func ShownName(name string) string {
	if i := strings.IndexAny(name, "?#&="); i >= 0 {
		name = name[:i]
	}
	return name[:min(len(name), 200)]
}

// Split cuts a full name into that of the folder, "" for the root, and the
// name in it.
func Split(full string) (folder, name string) {
	i := strings.LastIndexByte(full, '/')
	if i < 0 {
		return "", full
	}
	return full[:i], full[i+1:]
}

// Join is the full name of what is called name in a folder, "" being the root.
func Join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}
