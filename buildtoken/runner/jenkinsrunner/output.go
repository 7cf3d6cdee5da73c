package jenkinsrunner

import (
	"fmt"
	"io"
)

// output writes to the log until a write fails; the rest is dropped.
type output struct {
	to      io.Writer
	failed  bool
	midLine bool
}

// Write never fails.
func (o *output) Write(p []byte) (int, error) {
	if len(p) > 0 && !o.failed {
		n, err := o.to.Write(p)
		o.failed = err != nil || n < len(p)
		o.midLine = p[len(p)-1] != '\n'
	}
	return len(p), nil
}

// line writes a line of this package, which the prefix distinguishes from those of the build.
func (o *output) line(format string, args ...any) {
	text := linePrefix + oneLine(fmt.Sprintf(format, args...)) + "\n"
	if o.midLine {
		text = "\n" + text
	}
	_, _ = o.Write([]byte(text))
}

const linePrefix = "Jenkins: "
