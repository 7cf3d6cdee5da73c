package caddymodule

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/policy"
)

var (
	// replacedShorthand matches what Caddy makes of its request shorthands in a site.
	replacedShorthand = regexp.MustCompile(`\{((?:http|tls)\.[^{}\s]*)\}`)
	// textPlaceholder matches placeholders that are replaced elsewhere, but not in rules.
	textPlaceholder = regexp.MustCompile(`\{(?:env|file|system|time|param|params)\.[^{}\s]*\}`)
	undeclared      = regexp.MustCompile(`undeclared reference to '([^']+)'`)

	variables = []string{"job", "token", "params", "delay", "cause", "user", "now", "request"}
	// variableOf has what a rule can use in place of a shorthand.
	variableOf = map[string]string{
		"http.request.method":      "request.method",
		"http.request.host":        "request.host",
		"http.request.hostport":    "request.host",
		"http.request.uri":         "request.path",
		"http.request.uri.path":    "request.path",
		"http.request.orig_uri":    "request.path",
		"http.request.scheme":      "request.scheme",
		"http.request.remote":      "request.remote_ip",
		"http.request.remote.host": "request.remote_ip",
		"http.vars.client_ip":      "request.remote_ip",
		"http.auth.user.id":        "user",
	}
	shorthandOf = map[string]string{
		"http.request.method": "{method}", "http.request.host": "{host}", "http.request.hostport": "{hostport}", "http.request.uri": "{uri}",
		"http.request.uri.path": "{path}", "http.request.scheme": "{scheme}", "http.request.remote": "{remote}",
		"http.request.remote.host": "{remote_host}", "http.vars.client_ip": "{client_ip}",
	}
)

// shorthandError returns an error for a rule in which Caddy has replaced a
// shorthand such as {method}: what is left is a text that is never equal to
// what was meant.
func shorthandError(source string) error {
	found := replacedShorthand.FindStringSubmatch(source)
	if found == nil {
		return nil
	}
	written, use := shorthandOf[found[1]], variableOf[found[1]]
	if header, ok := strings.CutPrefix(found[1], "http.request.header."); ok {
		written, use = "{header."+header+"}", fmt.Sprintf("request.headers[%q]", strings.ToLower(header))
	}
	if use == "" {
		use = "a variable of the rule, such as request.method"
	}
	if written == "" {
		return fmt.Errorf("a rule has no placeholders; use %s instead of %s", use, found[0])
	}
	return fmt.Errorf("Caddy has replaced %s by %s in the rule; use %s instead", written, found[0], use) //nolint:staticcheck // a name
}

// ruleCure returns what to do about a rule that does not compile, as the end of
// an error.
func ruleCure(problem, source string) string {
	if found := undeclared.FindStringSubmatch(problem); found != nil {
		name := found[1]
		switch meant := nearest(name, variables); {
		case meant != "":
			return fmt.Sprintf(" (did you mean %s?)", meant)
		case regexp.MustCompile(`(==|!=|\bin\b|,|\[)\s*` + regexp.QuoteMeta(name) + `\b`).MatchString(source):
			return fmt.Sprintf("; text stands in double quotes: %q", name)
		}
	}
	if n := strings.Count(source, "\n"); n > 0 {
		return fmt.Sprintf("; the rule has %d lines: is a backquote missing?", n+1)
	}
	return ""
}

// read is a parameter that a rule reads, and where the rule stands.
type read struct {
	policy.Read
	at string
}

// lintReads returns an error if a rule of a job, or of one of its tokens, reads a
// parameter that the job does not have. It warns if a choice is compared with a value
// that is not one of its choices.
func (w *warnings) lintReads(j *Job, reads []read) error {
	names := paramNames(j)
	for _, r := range reads {
		i := slices.Index(names, r.Param)
		if i >= 0 {
			w.lintChoice(j.Params[i], r)
			continue
		}
		if r.Asks {
			continue
		}
		hint := fmt.Sprintf("; ask for it first, as in %q in params && …", r.Param)
		if meant := nearestFold(r.Param, names); meant != "" {
			hint = fmt.Sprintf(" (did you mean params.%s?)", meant)
		}
		return fmt.Errorf("allow: job '%s' has no parameter %s, so the rule would deny every trigger%s, at %s", j.Name, r.Param, hint, r.at)
	}
	return nil
}

// lintChoice warns about a rule that compares a choice with a value that is not one of
// its choices, so that the comparison always has the same result.
func (w *warnings) lintChoice(p job.Param, r read) {
	if p.Kind != job.KindChoice {
		return
	}
	for _, value := range r.Compared {
		if slices.Contains(p.Choices, value) {
			continue
		}
		hint := "the choices are " + strings.Join(p.Choices, ", ")
		if meant := nearestFold(value, p.Choices); meant != "" {
			hint = fmt.Sprintf("did you mean %q?", meant)
		}
		w.warn(CodeChoice, r.at, "allow: the rule compares %s with %q, which is not one of its choices; %s", r.Param, value, hint)
	}
}

// lintFolderReads warns about rules of a folder that read a parameter which some job
// below does not have.
func (w *warnings) lintFolderReads(f *Folder, full string, reads []read) {
	for _, r := range reads {
		if without := jobWithout(f, full, r.Param); without != "" && !r.Asks {
			w.warn(CodeParam, r.at, "allow: the rule denies every trigger of job %q, which has no parameter %s; ask for it first, as in %q in params && …",
				without, r.Param, r.Param)
		}
	}
}

// jobWithout returns the full name of the first job below f that does not have a
// parameter, or "".
func jobWithout(f *Folder, full, param string) string {
	for i := range f.Jobs {
		if !slices.Contains(paramNames(&f.Jobs[i]), param) {
			return job.Join(full, f.Jobs[i].Name)
		}
	}
	for i := range f.Folders {
		if found := jobWithout(&f.Folders[i], job.Join(full, f.Folders[i].Name), param); found != "" {
			return found
		}
	}
	return ""
}

func paramNames(j *Job) []string {
	names := make([]string, len(j.Params))
	for i, p := range j.Params {
		names[i] = p.Name
	}
	return names
}

// nearestFold is nearest for names that may be in upper case.
func nearestFold(name string, candidates []string) string {
	lower := make([]string, len(candidates))
	for i, c := range candidates {
		lower[i] = strings.ToLower(c)
	}
	if i := slices.Index(lower, nearest(name, lower)); i >= 0 {
		return candidates[i]
	}
	return ""
}
