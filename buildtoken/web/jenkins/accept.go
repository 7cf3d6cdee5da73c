package jenkins

import (
	"strconv"
	"strings"
)

// prefers says whether an Accept header likes one media type better than
// text: the type is named, and no kind of text, nor everything, has a higher
// weight. Of equal weights a text that is named before it wins.
func prefers(accept []string, want string) bool {
	best, wanted, textFirst := 0.0, 0.0, false
	for _, header := range accept {
		for part := range strings.SplitSeq(header, ",") {
			kind, weight := weigh(part)
			switch {
			case kind == want:
				wanted = max(wanted, weight)
			case kind == "*/*":
				best = max(best, weight)
			case strings.HasPrefix(kind, "text/"):
				if weight > 0 && weight >= best && wanted == 0 {
					textFirst = true
				}
				best = max(best, weight)
			}
		}
	}
	return wanted > best || (wanted > 0 && wanted == best && !textFirst)
}

// weigh reads one media range and its weight.
func weigh(part string) (kind string, weight float64) {
	kind, params, _ := strings.Cut(part, ";")
	weight = 1
	for param := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if strings.EqualFold(name, "q") {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || !(q >= 0 && q <= 1) {
				q = 0
			}
			weight = q
		}
	}
	return strings.ToLower(strings.TrimSpace(kind)), weight
}

const (
	typeJSON   = "application/json"
	typeEvents = "text/event-stream"
)

// wantsJSON says whether the answer should be JSON.
func (q *request) wantsJSON() bool { return !q.plain && prefers(q.r.Header["Accept"], typeJSON) }
