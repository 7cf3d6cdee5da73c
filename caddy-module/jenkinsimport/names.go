package jenkinsimport

import (
	"fmt"
	"path"
	"strings"
)

// path returns an unused path for a file of a job, relative to the directory of the import:
// folders become directories. All files have a suffix with a dot and no directory has a dot in
// its name, so they do not collide, also where names are found without regard to case.
func (im *importer) path(dir, full, suffix string) string {
	var elements []string
	for element := range strings.SplitSeq(full, "/") {
		elements = append(elements, strings.Map(fileRune, element))
	}
	base := path.Join(dir, path.Join(elements...))
	name := base + suffix
	for n := 2; im.names[strings.ToLower(name)]; n++ {
		name = fmt.Sprintf("%s-%d%s", base, n, suffix)
	}
	im.names[strings.ToLower(name)] = true
	return name
}

// fileRune replaces what some systems or shells do not like in a file name.
func fileRune(r rune) rune {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_':
		return r
	}
	return '_'
}

// absolute returns the path of a file as builds see it.
func (im *importer) absolute(name string) string {
	return strings.TrimSuffix(im.options.Dir, "/") + "/" + name
}
