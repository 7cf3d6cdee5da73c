package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// Warning is a probable mistake in a configuration that is valid. Warnings are
// logged when the configuration is provisioned, by `caddy validate`, `run` and
// `reload`, and listed by `caddy build-token check`.
type Warning struct {
	// What it is about, as a word that docs/caddyfile.md explains.
	Code Code `json:"code"`

	// The file and line, if they are known.
	At string `json:"at,omitempty"`

	// The full name of the job or folder, if it is known.
	Job string `json:"job,omitempty"`

	// What is wrong, and what to do about it.
	Message string `json:"message"`
}

// Code names a kind of [Warning].
type Code string

// The codes, in the order in which docs/caddyfile.md lists them.
const (
	CodeShell       Code = "no-shell"
	CodeScript      Code = "words-after-script"
	CodeSpaces      Code = "program-with-spaces"
	CodePlaceholder Code = "unknown-placeholder"
	CodeRule        Code = "placeholder-in-rule"
	CodeParam       Code = "unknown-param"
	CodeChoice      Code = "unknown-choice"
	CodeDigest      Code = "unknown-digest"
	CodeWebhook     Code = "webhook-without-on"
	CodeProgram     Code = "program-missing"
	CodeLabel       Code = "label-without-node"
	CodeExpired     Code = "token-expired"
	CodeExpires     Code = "token-expires-soon"
	CodeUnreachable Code = "no-way-to-start"
)

// String returns the warning as one line for people.
func (w Warning) String() string {
	place := w.At
	if w.Job != "" {
		if place != "" {
			place += ": "
		}
		place += fmt.Sprintf("%q", w.Job)
	}
	if place != "" {
		place += ": "
	}
	return fmt.Sprintf("%s%s [%s]", place, w.Message, w.Code)
}

// log writes the warning. The message of a log line is constant elsewhere; here
// it is what the operator has to read.
func (w Warning) log(to *zap.Logger) {
	fields := []zap.Field{zap.String("code", string(w.Code))}
	if w.At != "" {
		fields = append(fields, zap.String("at", w.At))
	}
	if w.Job != "" {
		fields = append(fields, zap.String("job", w.Job))
	}
	to.Warn(w.Message, fields...)
}

// warnings collects those of one directive.
type warnings struct{ all []Warning }

// warn adds a warning about the place at. Those that are found while a job is
// read get its name at its end; see [warnings.name].
func (w *warnings) warn(code Code, at, format string, args ...any) {
	w.all = append(w.all, Warning{Code: code, At: at, Message: fmt.Sprintf(format, args...)})
}

// name sets the job of all warnings from the index from on that have none.
func (w *warnings) name(from int, full string) {
	for i := range w.all[from:] {
		if w.all[from+i].Job == "" {
			w.all[from+i].Job = full
		}
	}
}

// mark records the place of a directive of the job or folder being read, for warnings that
// only provisioning can find.
func (p parser) mark(directive string) { p.lines[placeName(p.full, directive)] = place(p.d) }

// place returns the file and line of the current token.
func place(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }
