package jenkins

import (
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// path is a request's path in unescaped segments. Empty ones, from doubled
// slashes and one at the end, are left out: clients put job URLs and suffixes
// together without a look at the slashes.
type path struct {
	segments []string
	// exact says that nothing was left out but one slash at the end.
	exact bool
}

// splitPath cuts first and unescapes then, so that an escaped slash is part of
// a name, which no job has, and never a folder. The segments begin in into, if
// they have room there.
func splitPath(escaped string, into []string) path {
	rest, rooted := strings.CutPrefix(escaped, "/")
	p := path{exact: rooted}
	rest = strings.TrimSuffix(rest, "/")
	if rest == "" {
		return p
	}
	p.segments = into[:0]
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "" {
			p.exact = false
			continue
		}
		if strings.Contains(segment, "%") {
			unescaped, err := url.PathUnescape(segment)
			if err != nil { // net/http lets none through
				unescaped = segment
			}
			segment = unescaped
		}
		p.segments = append(p.segments, segment)
	}
	return p
}

// at is the segment at an index, "" behind the end.
func (p path) at(i int) string {
	if i < len(p.segments) {
		return p.segments[i]
	}
	return ""
}

// from are the segments from an index on.
func (p path) from(i int) []string { return p.segments[min(i, len(p.segments)):] }

// action is what stands alone behind /buildByToken/, with one more slash at most.
func (p path) action() (string, bool) {
	if !p.exact || len(p.segments) != 2 {
		return "", false
	}
	return p.segments[1], true
}

// job reads job/NAME/job/NAME/… and gives the full name and what follows. The
// name is "" if there is none that could be a job's.
func (p path) job() (full string, rest []string) {
	rest = p.segments
	possible := true
	for len(rest) >= 2 && rest[0] == "job" {
		// An escaped slash in a name is no name: joined, it would be another job's.
		possible = possible && !strings.Contains(rest[1], "/") && utf8.ValidString(rest[1])
		full = job.Join(full, rest[1])
		rest = rest[2:]
	}
	if !possible {
		full = ""
	}
	return full, rest
}
