package web

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// ByToken is the first segment of the paths that need no account, only a token.
const ByToken = "buildByToken"

// Path is the path of a request in unescaped segments. Empty segments are dropped,
// since clients join job URLs and suffixes without looking at the slashes.
type Path struct {
	segments []string
	// exact reports whether nothing was dropped except one slash at the end.
	exact bool
}

// SplitPath splits an escaped path. It splits first and unescapes then, so an
// escaped slash is part of a name, which no job has, and never separates folders.
func SplitPath(escaped string) Path {
	rest, rooted := strings.CutPrefix(escaped, "/")
	p := Path{exact: rooted}
	rest = strings.TrimSuffix(rest, "/")
	if rest == "" {
		return p
	}
	p.segments = make([]string, 0, 1+strings.Count(rest, "/"))
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" {
			p.exact = false
			continue
		}
		if strings.Contains(segment, "%") {
			if unescaped, err := url.PathUnescape(segment); err == nil { // net/http refuses the others
				segment = unescaped
			}
		}
		p.segments = append(p.segments, segment)
	}
	return p
}

// Dotted reports whether a segment is "." or "..". Guards in front of the site
// resolve such segments, so a path that has one must not be answered here.
func (p Path) Dotted() bool {
	return slices.ContainsFunc(p.segments, func(s string) bool { return s == "." || s == ".." })
}

// Len returns the number of segments.
func (p Path) Len() int { return len(p.segments) }

// At returns the segment at an index, "" past the end.
func (p Path) At(i int) string {
	if i < len(p.segments) {
		return p.segments[i]
	}
	return ""
}

// From returns the path from a segment on.
func (p Path) From(i int) Path {
	return Path{segments: p.segments[min(i, len(p.segments)):], exact: p.exact}
}

// Is reports whether the path consists of exactly these segments.
func (p Path) Is(segments ...string) bool { return slices.Equal(p.segments, segments) }

// Action returns the single segment after /buildByToken/. At most one slash may follow it.
func (p Path) Action() (string, bool) {
	if !p.exact || len(p.segments) != 2 || p.segments[0] != ByToken {
		return "", false
	}
	return p.segments[1], true
}

// Job reads job/NAME/job/NAME/… and returns the job's full name and the rest of the
// path. The name is "" if no job can have it.
func (p Path) Job() (full string, rest Path) {
	s := p.segments
	possible := true
	for len(s) >= 2 && s[0] == "job" {
		// A name with an escaped slash is refused: joined, it would name another job.
		// A name beyond the limit is not joined any further, to keep the work linear.
		possible = possible && !strings.Contains(s[1], "/") && utf8.ValidString(s[1]) && len(full)+len(s[1]) < job.MaxFullName
		if possible {
			full = job.Join(full, s[1])
		}
		s = s[2:]
	}
	if !possible {
		full = ""
	}
	return full, Path{segments: s, exact: p.exact}
}

// Number reads an item's id or a build's number: from 1, without leading zeros.
func Number(text string) (int64, bool) {
	if text == "" || text[0] < '1' || text[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// JobURL returns the URL of a job or folder below base, which ends with a slash, as
// the result does. The root folder "" is base itself.
func JobURL(base, full string) string {
	if full == "" {
		return base
	}
	return job.URL(base, full)
}

// BuildURL returns the URL of a build below base.
func BuildURL(base, full string, number int64) string {
	return JobURL(base, full) + strconv.FormatInt(number, 10) + "/"
}

// SharedURL returns the URL below base of the share link with an ID.
func SharedURL(base, id string) string {
	return base + ByToken + "/shared/" + id
}

// Shared reads buildByToken/shared/ID and buildByToken/shared/ID/log. At most one slash
// may follow.
func (p Path) Shared() (id string, log, ok bool) {
	n := len(p.segments)
	if !p.exact || n < 3 || n > 4 || p.At(0) != ByToken || p.At(1) != "shared" || (n == 4 && p.At(3) != "log") {
		return "", false, false
	}
	return p.At(2), n == 4, true
}

// ItemURL returns the URL of a queue item below base.
func ItemURL(base string, id int64) string {
	return base + "queue/item/" + strconv.FormatInt(id, 10) + "/"
}

// Displayed returns a full name as people see it.
func Displayed(full string) string { return strings.ReplaceAll(full, "/", " » ") }
