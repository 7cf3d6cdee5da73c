package jenkinshome

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxFile is the size of the largest file that is read.
const maxFile = 32 << 20

// configFile is the name of the file of each job and folder.
const configFile = "config.xml"

// Home is what was read of a Jenkins.
type Home struct {
	// Global is the configuration of the whole server, nil if there was none.
	Global *Element
	// Shell is the program for shell steps that the server configures, "" if it does not.
	Shell string
	Items []Item
	// Skipped are files and directories that look like jobs and are none.
	Skipped []Skipped
}

// Item is a job or a folder.
type Item struct {
	// FullName is its name with those of the folders above it.
	FullName string
	// Source is the path of its file.
	Source string
	// Config is its configuration, nil if Err is set.
	Config *Element
	Err    error
}

// Skipped is a path that was not read, and why.
type Skipped struct{ Path, Reason string }

// Read reads a directory: a JENKINS_HOME; the directory of one job or folder, as jobs/NAME in
// one; or a directory of such directories or of files NAME.xml. name is that of the directory,
// which Jenkins uses as the name of a job. prefix stands before all paths in the result.
func Read(fsys fs.FS, name, prefix string) (Home, error) {
	r := reader{fsys: fsys, prefix: prefix}
	item, err := r.config(".")
	_, noJobs := fs.Stat(fsys, "jobs")
	switch {
	case item.Config != nil && item.Config.Name != "hudson", err == nil && item.Config == nil && noJobs != nil:
		item.FullName = name
		r.home.Items = append(r.home.Items, item)
		return r.home, r.below(".", item)
	case item.Config == nil && noJobs != nil:
		return r.home, r.loose()
	}
	r.server(item)
	return r.home, r.jobs("jobs", "")
}

// server keeps the configuration of the whole server, of which the item is the file.
func (r *reader) server(item Item) {
	r.home.Global = item.Config
	if item.Config == nil && !errors.Is(item.Err, fs.ErrNotExist) {
		r.skip(configFile, item.Err.Error())
	}
	const shellFile = "hudson.tasks.Shell.xml"
	shell, err := r.parse(shellFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.skip(shellFile, err.Error())
	}
	r.home.Shell = strings.TrimSpace(shell.TakeText("shell"))
}

// ReadFile reads the file of one job. place is its absolute path, with slashes: the job has the
// name of the directory, unless the file is called NAME.xml. If the path is that of a job in
// a JENKINS_HOME, it has the names of the folders too.
func ReadFile(fsys fs.FS, file, place string) Item {
	r := reader{fsys: fsys}
	item := Item{Source: place}
	item.Config, item.Err = r.parse(file)
	dir, base := path.Split(place)
	if base != configFile {
		item.FullName = strings.TrimSuffix(base, ".xml")
		return item
	}
	elements := strings.Split(strings.Trim(dir, "/"), "/")
	at := len(elements) - 1
	item.FullName = elements[at]
	if at >= 2 && elements[at-1] == "branches" {
		at -= 2
		item.FullName = join(elements[at], branchName(item.Config, item.FullName))
	}
	for at >= 3 && elements[at-1] == "jobs" && elements[at-3] == "jobs" {
		at -= 2
		item.FullName = join(elements[at], item.FullName)
	}
	return item
}

// reader collects what is in one directory.
type reader struct {
	fsys   fs.FS
	prefix string
	home   Home
}

func (r *reader) skip(name, reason string) {
	r.home.Skipped = append(r.home.Skipped, Skipped{path.Join(r.prefix, name), reason})
}

// jobs reads the directories of jobs in dir, which need not exist.
func (r *reader) jobs(dir, folder string) error {
	entries, err := fs.ReadDir(r.fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("jenkinshome: list the jobs: %w", err)
	}
	for _, entry := range entries {
		if err := r.entry(path.Join(dir, entry.Name()), folder, entry); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) entry(dir, folder string, entry fs.DirEntry) error {
	switch {
	case entry.Type()&fs.ModeSymlink != 0:
		r.skip(dir, "it is a symbolic link; name its target on the command line to import it")
		return nil
	case !entry.IsDir():
		return nil
	}
	item, err := r.config(dir)
	if errors.Is(err, fs.ErrNotExist) {
		r.skip(dir, "it has no "+configFile)
		return nil
	}
	item.FullName = join(folder, entry.Name())
	r.home.Items = append(r.home.Items, item)
	return r.below(dir, item)
}

// below reads the children of a folder, or the branches of a multibranch project.
func (r *reader) below(dir string, item Item) error {
	if err := r.jobs(path.Join(dir, "jobs"), item.FullName); err != nil {
		return err
	}
	from := len(r.home.Items)
	if err := r.jobs(path.Join(dir, "branches"), item.FullName); err != nil {
		return err
	}
	for i := range r.home.Items[from:] {
		branch := &r.home.Items[from+i]
		branch.FullName = join(item.FullName, branchName(branch.Config, path.Base(path.Dir(branch.Source))))
	}
	return nil
}

// branchName returns the name of a job that stands for a branch. Jenkins mangles its
// directory, and writes the branch into a property. Without one, it is the directory's.
func branchName(config *Element, dir string) string {
	head := config.find("properties").find("org.jenkinsci.plugins.workflow.multibranch.BranchJobProperty").find("branch").find("head").find("name")
	if head == nil || head.Text == "" {
		return dir
	}
	return escapeName(head.Text)
}

// escapeName escapes a name as Jenkins does for the jobs of branches.
func escapeName(name string) string {
	var b strings.Builder
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("!@$&*()-_=+',.", c) >= 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// loose reads a directory of directories of jobs and of files NAME.xml.
func (r *reader) loose() error {
	entries, err := fs.ReadDir(r.fsys, ".")
	if err != nil {
		return fmt.Errorf("jenkinshome: list the directory: %w", err)
	}
	for _, entry := range entries {
		name, isXML := strings.CutSuffix(entry.Name(), ".xml")
		if !isXML || !entry.Type().IsRegular() {
			if err := r.entry(entry.Name(), "", entry); err != nil {
				return err
			}
			continue
		}
		item := Item{FullName: name, Source: path.Join(r.prefix, entry.Name())}
		item.Config, item.Err = r.parse(entry.Name())
		r.home.Items = append(r.home.Items, item)
	}
	return nil
}

// config reads the file of a job or folder. Only a missing file is an error; others are in the item.
func (r *reader) config(dir string) (Item, error) {
	file := path.Join(dir, configFile)
	item := Item{Source: path.Join(r.prefix, file)}
	item.Config, item.Err = r.parse(file)
	if errors.Is(item.Err, fs.ErrNotExist) {
		return item, item.Err
	}
	return item, nil
}

func (r *reader) parse(file string) (*Element, error) {
	f, err := r.fsys.Open(file)
	if err != nil {
		return nil, fmt.Errorf("jenkinshome: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("jenkinshome: read %s: %w", file, err)
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%w: the file is larger than %d MiB", ErrXML, maxFile>>20)
	}
	return Parse(text)
}

// ReadKeys reads the keys in a JENKINS_HOME. Without any of the files, it returns no keys and no error.
func ReadKeys(fsys fs.FS) (Keys, error) {
	var files [3][]byte
	for i, name := range []string{"secrets/master.key", "secrets/hudson.util.Secret", "secret.key"} {
		text, err := fs.ReadFile(fsys, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Keys{}, fmt.Errorf("jenkinshome: read the keys: %w", err)
		}
		files[i] = text
	}
	if (files[0] == nil) != (files[1] == nil) {
		return Keys{}, fmt.Errorf("%w: secrets has only one of master.key and hudson.util.Secret", ErrKeys)
	}
	return NewKeys(files[0], files[1], files[2])
}

func join(folder, name string) string {
	if folder == "" {
		return name
	}
	return folder + "/" + name
}

// SortItems sorts items so that folders stand before what is in them.
func SortItems(items []Item) {
	slices.SortStableFunc(items, func(a, b Item) int { return strings.Compare(a.FullName, b.FullName) })
}
