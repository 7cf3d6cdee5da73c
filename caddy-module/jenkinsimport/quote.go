package jenkinsimport

import (
	"fmt"
	"regexp"
	"strings"
)

// plainToken matches what needs no quotes in a Caddyfile.
var plainToken = regexp.MustCompile(`^(?:[A-Za-z0-9_./:@%+,=*-]+|\{(?:env|file)\.[^{}\s"` + "`" + `]+\})$`)

// quote returns a word as a Caddyfile has it. Between double quotes, only a quote can be
// escaped; between backquotes, nothing; and a heredoc holds everything but carriage
// returns. A text that none of them can hold is written wrongly, which the comparison with
// the adapted Caddyfile finds.
func quote(word string) string {
	switch {
	case plainToken.MatchString(word):
		return word
	case !strings.Contains(word, `\`) && (!strings.Contains(word, `"`) || strings.Contains(word, "`")):
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	case !strings.Contains(word, "`"):
		return "`" + word + "`"
	case !strings.Contains(word, `\"`) && !strings.HasSuffix(word, `\`):
		return `"` + strings.ReplaceAll(word, `"`, `\"`) + `"`
	}
	marker := "END"
	for n := 2; strings.Contains(word, marker); n++ {
		marker = fmt.Sprintf("END%d", n)
	}
	return "<<" + marker + "\n" + word + "\n" + marker
}
