package jenkinsimport

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

// TokenMode is what becomes of the tokens of jobs.
type TokenMode string

// The modes.
const (
	TokenDigest TokenMode = "digest" // the digest of the token stands in the Caddyfile
	TokenFile   TokenMode = "file"   // the token stands in a file that the Caddyfile names
	TokenNew    TokenMode = "new"    // a new token
)

// Options are what a user chooses.
type Options struct {
	// Dir is the absolute path of the directory for the files. It stands in the Caddyfile.
	Dir string
	// Relay is the base URL of the Jenkins to which jobs are relayed that cannot run here. If
	// it is "", they are left out.
	Relay string
	// RelayAll relays the other jobs too.
	RelayAll bool
	// Tokens is what becomes of tokens. "" means [TokenDigest].
	Tokens TokenMode
	// Keys decrypt tokens.
	Keys jenkinshome.Keys
	// Random is where new tokens come from.
	Random io.Reader
}

// Plan is what an import writes.
type Plan struct {
	// Executors is how many builds run at once, 0 for the default.
	Executors int
	// Labels are those that this server has.
	Labels []string
	// Settings apply to all jobs.
	Settings job.Settings
	// Jobs are sorted by their full names.
	Jobs   []Job
	Report Report
}

// Job is a job to be written.
type Job struct {
	// Job is the job itself. Its settings are its own, without those of the plan.
	job.Job
	// Token is the secret as the Caddyfile has it, "" for none.
	Token string
	// ShortToken is set if the token can be guessed from its digest.
	ShortToken bool
	Run        *Command // nil: the job is relayed
	Poll       *Command
	Schedules  []Schedule
	Relay      *Relay
	// Harmless are the names of elements that were not imported because they have no effect.
	Harmless []string
	// Files are those that the job needs.
	Files []File
	// Entry is the job's part of the report.
	Entry *Entry
}

// Command is a program and its arguments.
type Command struct {
	Words []string
	// Unstable is the exit status that means UNSTABLE, 0 for none.
	Unstable int
}

// Schedule starts builds, or polls, at certain times.
type Schedule struct {
	Spec string
	Poll bool
}

// Relay is a job of the Jenkins behind this server.
type Relay struct {
	URL, Job string
	// Token is the token of that job as the Caddyfile has it, "" if it is unknown.
	Token string
}

// File is a file to be written.
type File struct {
	// Path is relative to the directory of the import, with slashes.
	Path string
	Text string
	// Secret files may be read by their owner only.
	Secret bool
}

// New makes a plan of what was read.
func New(homes []jenkinshome.Home, options Options) (*Plan, error) {
	p := &Plan{Report: Report{General: []Note{}, Jobs: []*Entry{}, Folders: []*Entry{}, Skipped: []Skipped{}}}
	im := &importer{plan: p, options: options, names: map[string]bool{}, shell: "sh", taken: map[string]bool{}}
	var items []jenkinshome.Item
	for _, home := range homes {
		if home.Shell != "" {
			im.shell = home.Shell
		}
		if home.Global != nil {
			im.global(home.Global)
		}
		for _, skipped := range home.Skipped {
			p.Report.Skipped = append(p.Report.Skipped, Skipped(skipped))
		}
		items = append(items, home.Items...)
	}
	jenkinshome.SortItems(items)
	for i, item := range items {
		if i > 0 && items[i-1].FullName == item.FullName {
			im.leaveOut(item, "", "there is another job of this name in %s", items[i-1].Source)
			continue
		}
		if err := im.item(item); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// importer makes a plan.
type importer struct {
	plan    *Plan
	options Options
	names   map[string]bool // paths of files that are taken, in lower case
	shell   string          // the program for shell steps
	taken   map[string]bool // full names of the jobs in the plan
	// builtIn are the labels of Jenkins' own node, which are those of this server now.
	builtIn []string
}

// item imports a job or a folder.
func (im *importer) item(item jenkinshome.Item) error {
	switch {
	case item.Config == nil:
		im.leaveOut(item, "", "%s", strings.TrimPrefix(item.Err.Error(), "jenkinshome: "))
		return nil
	case !usable(item.FullName):
		im.leaveOut(item, "", "the name cannot be that of a job here: it is empty, too long, or has a control character")
		return nil
	case isFolder(item.Config.Name):
		im.folder(item)
		return nil
	}
	c := &conversion{importer: im, root: item.Config, entry: im.entry(item), job: Job{Job: job.Job{FullName: item.FullName}}}
	if err := c.convert(); err != nil {
		return fmt.Errorf("job %q: %w", item.FullName, err)
	}
	return nil
}

// usable reports whether a job here can have this full name.
func usable(name string) bool {
	full, err := job.ParseFullName(name)
	return err == nil && full == name
}

func (im *importer) entry(item jenkinshome.Item) *Entry {
	e := &Entry{Job: item.FullName, Source: item.Source, Status: Imported, Notes: []Note{}, Reasons: []Note{}, Files: []string{}}
	if item.Config != nil {
		e.Kind = item.Config.Name
	}
	im.plan.Report.Jobs = append(im.plan.Report.Jobs, e)
	return e
}

func (im *importer) leaveOut(item jenkinshome.Item, element, format string, args ...any) {
	e := im.entry(item)
	e.Status = LeftOut
	e.Reasons = append(e.Reasons, Note{Element: element, Text: fmt.Sprintf(format, args...)})
}

// LeaveOut takes a job out of the plan.
func (p *Plan) LeaveOut(full, reason string) {
	at := slices.IndexFunc(p.Jobs, func(j Job) bool { return j.FullName == full })
	if at < 0 {
		return
	}
	e := p.Jobs[at].Entry
	e.Status, e.RunsIn, e.Token, e.newToken, e.Files, e.kept = LeftOut, "", "", "", []string{}, nil
	e.Reasons = append(e.Reasons, Note{Text: reason})
	p.Jobs = slices.Delete(p.Jobs, at, at+1)
}

// Replace replaces the job of the same name, and its part of the report.
func (p *Plan) Replace(with Job) {
	for i := range p.Jobs {
		if p.Jobs[i].FullName == with.FullName {
			at := slices.Index(p.Report.Jobs, p.Jobs[i].Entry)
			p.Jobs[i], p.Report.Jobs[at] = with, with.Entry
		}
	}
}

// Bare returns the job without its descriptions and those of its parameters, and with a note.
func (j Job) Bare(note string) Job {
	j.Description = ""
	j.Params = slices.Clone(j.Params)
	for i := range j.Params {
		j.Params[i].Description = ""
	}
	entry := *j.Entry
	entry.Notes = append(slices.Clone(entry.Notes), Note{"description", note})
	entry.Status = ImportedWithNotes
	j.Entry = &entry
	return j
}

// Files returns the files of all jobs, sorted by their paths.
func (p *Plan) Files() []File {
	var files []File
	var tokens strings.Builder
	for _, j := range p.Jobs {
		files = append(files, j.Files...)
		if j.Entry.newToken != "" {
			fmt.Fprintf(&tokens, "%s\t%s\n", j.FullName, j.Entry.newToken)
		}
	}
	for _, e := range p.Report.Jobs {
		files = append(files, e.kept...)
	}
	if tokens.Len() > 0 {
		files = append(files, File{Path: newTokensFile, Text: tokens.String(), Secret: true})
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return files
}
