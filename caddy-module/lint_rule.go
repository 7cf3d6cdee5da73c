package caddymodule

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
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
			return fmt.Sprintf("; did you mean %s?", meant)
		case regexp.MustCompile(`(==|!=|\bin\b|,|\[)\s*` + regexp.QuoteMeta(name) + `\b`).MatchString(source):
			return fmt.Sprintf("; text stands in double quotes: %q", name)
		}
	}
	if n := strings.Count(source, "\n"); n > 0 {
		return fmt.Sprintf("; the rule has %d lines: is a backquote missing?", n+1)
	}
	return ""
}

// need is a parameter that a rule reads without asking whether it exists.
type need struct{ param, at string }

// checkNeeds returns an error if a rule of a job, or of one of its tokens, reads
// a parameter that the job does not have.
func checkNeeds(j *Job, needs []need) error {
	names := paramNames(j)
	for _, n := range needs {
		if slices.Contains(names, n.param) {
			continue
		}
		hint := fmt.Sprintf("ask for it first, as in %q in params && …", n.param)
		if meant := nearestFold(n.param, names); meant != "" {
			hint = "did you mean params." + meant + "?"
		}
		return fmt.Errorf("allow: job '%s' has no parameter %s, so the rule would deny every trigger; %s, at %s", j.Name, n.param, hint, n.at)
	}
	return nil
}

// lintNeeds warns about rules of a folder that read a parameter which some job
// below does not have.
func (w *warnings) lintNeeds(f *Folder, full string, needs []need) {
	for _, n := range needs {
		if without := jobWithout(f, full, n.param); without != "" {
			w.warn(CodeParam, n.at, "allow: the rule denies every trigger of job %q, which has no parameter %s; ask for it first, as in %q in params && …",
				without, n.param, n.param)
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
