package jenkinsrunner

import (
	"fmt"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// linePrefix distinguishes lines of this package from those of the build.
const linePrefix = "Jenkins: "

// comment writes a line of this package to the log.
func (l *relay) comment(format string, args ...any) {
	l.out.Line("%s%s", linePrefix, runner.OneLine(fmt.Sprintf(format, args...)))
}
