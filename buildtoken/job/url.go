package job

import (
	"net/url"
	"strings"
)

// URL returns the address of a job's page below root, which ends with a slash, as the
// result does.
func URL(root, full string) string {
	var b strings.Builder
	b.WriteString(root)
	for name := range strings.SplitSeq(full, "/") {
		b.WriteString("job/")
		b.WriteString(url.PathEscape(name))
		b.WriteByte('/')
	}
	return b.String()
}
