package jenkinsimport

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Status is what became of a job.
type Status string

// The statuses.
const (
	Imported          Status = "imported"
	ImportedWithNotes Status = "imported with notes"
	LeftOut           Status = "left out"
)

// Report lists what became of everything that was read.
type Report struct {
	// General are notes about the server as a whole.
	General []Note `json:"general"`
	// Jobs has one entry for each job, sorted by name.
	Jobs []*Entry `json:"jobs"`
	// Folders has one entry for each folder.
	Folders []*Entry `json:"folders"`
	// Skipped are files and directories that look like jobs and are none.
	Skipped []Skipped `json:"skipped"`
}

// Entry is what became of one job or folder.
type Entry struct {
	Job string `json:"job"`
	// Kind is the root element of the configuration.
	Kind   string `json:"kind"`
	Source string `json:"source"`
	Status Status `json:"status"`
	// RunsIn is "here" or "jenkins", or "" for a job that was left out.
	RunsIn string `json:"runs_in,omitempty"`
	// Token is where the token comes from: digest, file or new; "" for none.
	Token TokenMode `json:"token,omitempty"`
	// Reasons are why a job was left out.
	Reasons []Note `json:"reasons"`
	// Notes are what is not the same as in Jenkins.
	Notes []Note `json:"notes"`
	// Files are those that were written for the job.
	Files []string `json:"files"`

	newToken string
	// kept are files that are kept of a job that does not run here.
	kept []File
}

// Note is one line of the report.
type Note struct {
	// Element is the path of the XML element that it is about, "" for none.
	Element string `json:"element,omitempty"`
	Text    string `json:"text"`
}

// Skipped is a path that was not read, and why.
type Skipped struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

func (e *Entry) note(element, format string, args ...any) {
	e.Notes = append(e.Notes, Note{element, fmt.Sprintf(format, args...)})
}

// Count returns the number of jobs with a status.
func (r *Report) Count(status Status) int {
	n := 0
	for _, e := range r.Jobs {
		if e.Status == status {
			n++
		}
	}
	return n
}

// Relayed returns the number of jobs that run in Jenkins.
func (r *Report) Relayed() int {
	n := 0
	for _, e := range r.Jobs {
		if e.RunsIn == inJenkins {
			n++
		}
	}
	return n
}

// Summary is one line about all jobs.
func (r *Report) Summary() string {
	text := fmt.Sprintf("%s: %d imported, %d imported with notes, %d left out", counted(len(r.Jobs), "job", "jobs"), r.Count(Imported), r.Count(ImportedWithNotes), r.Count(LeftOut))
	if n := r.Relayed(); n > 0 {
		text += "; " + counted(n, "of them runs", "of them run") + " in Jenkins"
	}
	return text
}

// JSON returns the report for programs.
func (r *Report) JSON() ([]byte, error) {
	whole := struct {
		Counts map[Status]int `json:"counts"`
		Report
	}{map[Status]int{Imported: r.Count(Imported), ImportedWithNotes: r.Count(ImportedWithNotes), LeftOut: r.Count(LeftOut)}, *r}
	text, err := json.MarshalIndent(whole, "", "\t")
	return append(text, '\n'), err //nolint:wrapcheck // values that can always be encoded
}

// Markdown returns the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Import from Jenkins\n\n%s.\n", r.Summary())
	if len(r.General) > 0 {
		b.WriteString("\n## Before you switch\n\n")
		writeNotes(&b, r.General)
	}
	for _, part := range []struct {
		title  string
		status Status
	}{{"Left out", LeftOut}, {"Imported with notes", ImportedWithNotes}} {
		if r.Count(part.status) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n", part.title)
		for _, e := range r.Jobs {
			if e.Status == part.status {
				e.write(&b)
			}
		}
	}
	if r.Count(Imported) > 0 {
		b.WriteString("\n## Imported\n\n")
	}
	for _, e := range r.Jobs {
		if e.Status == Imported {
			fmt.Fprintf(&b, "- %s%s\n", code(e.Job), e.details())
		}
	}
	if folders := slices.DeleteFunc(slices.Clone(r.Folders), func(e *Entry) bool { return len(e.Notes) == 0 }); len(folders) > 0 {
		b.WriteString("\n## Folders\n")
		for _, e := range folders {
			e.write(&b)
		}
	}
	if len(r.Skipped) > 0 {
		b.WriteString("\n## Not read\n\n")
		for _, s := range r.Skipped {
			fmt.Fprintf(&b, "- %s: %s\n", code(s.Path), s.Reason)
		}
	}
	return b.String()
}

func (e *Entry) write(b *strings.Builder) {
	kind := "unreadable"
	if e.Kind != "" {
		kind = code(e.Kind)
	}
	fmt.Fprintf(b, "\n### %s\n\n%s in %s%s\n\n", code(e.Job), kind, code(e.Source), e.details())
	writeNotes(b, e.Reasons)
	writeNotes(b, e.Notes)
}

// details returns where a job runs, its token and its files, as the end of a line.
func (e *Entry) details() string {
	var text strings.Builder
	if e.RunsIn == inJenkins {
		text.WriteString("; runs in Jenkins")
	}
	switch e.Token {
	case TokenDigest:
		text.WriteString("; token as in Jenkins")
	case TokenFile:
		text.WriteString("; token as in Jenkins, in a file")
	case TokenNew:
		text.WriteString("; new token in " + code(newTokensFile))
	}
	for i, f := range e.Files {
		text.WriteString([]string{"; ", ", "}[min(i, 1)] + code(f))
	}
	return text.String()
}

func writeNotes(b *strings.Builder, notes []Note) {
	for _, n := range notes {
		b.WriteString("- ")
		if n.Element != "" {
			b.WriteString(code(n.Element) + ": ")
		}
		b.WriteString(strings.Join(strings.Fields(n.Text), " ") + "\n")
	}
}

// code returns a text as Markdown shows it unchanged.
func code(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if strings.Contains(text, "`") {
		return "`` " + text + " ``"
	}
	return "`" + text + "`"
}
