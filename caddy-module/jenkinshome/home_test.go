package jenkinshome_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/buildtoken/buildtoken/caddy-module/jenkinshome"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func branch(name string) *fstest.MapFile {
	return file(`<flow-definition><properties><org.jenkinsci.plugins.workflow.multibranch.BranchJobProperty><branch><head><name>` + name +
		`</name></head></branch></org.jenkinsci.plugins.workflow.multibranch.BranchJobProperty></properties></flow-definition>`)
}

// listed returns the items, and what was skipped, as lines.
func listed(home jenkinshome.Home) []string {
	var lines []string
	jenkinshome.SortItems(home.Items)
	for _, item := range home.Items {
		what := "unreadable"
		if item.Err == nil {
			what = item.Config.Name
		}
		lines = append(lines, fmt.Sprintf("%s: %s in %s", item.FullName, what, item.Source))
	}
	for _, s := range home.Skipped {
		lines = append(lines, fmt.Sprintf("skipped %s: %s", s.Path, s.Reason))
	}
	return lines
}

func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files fstest.MapFS
		want  []string
	}{
		{
			"a whole home",
			fstest.MapFS{
				"config.xml": file(`<hudson/>`), "hudson.tasks.Shell.xml": file(`<a><shell>/bin/bash</shell></a>`),
				"jobs/a/config.xml": file(`<project/>`), "jobs/a/builds/1/build.xml": file(`<build/>`), "jobs/a/lastStable": {Mode: fs.ModeSymlink},
				"jobs/f/config.xml": file(`<folder/>`), "jobs/f/jobs/a/config.xml": file(`<project/>`), "jobs/f/jobs/g/config.xml": file(`<folder/>`),
				"jobs/f/jobs/g/jobs/b c/config.xml": file(`<project/>`),
				"jobs/empty/nextBuildNumber":        file("3\n"), "jobs/link": {Mode: fs.ModeSymlink}, "jobs/notes.txt": file("x"),
				"jobs/broken/config.xml": file(`<project>`), "jobs/directory/config.xml/x": file(`<project/>`),
			},
			[]string{
				"a: project in home/jobs/a/config.xml", "broken: unreadable in home/jobs/broken/config.xml",
				"directory: unreadable in home/jobs/directory/config.xml", "f: folder in home/jobs/f/config.xml",
				"f/a: project in home/jobs/f/jobs/a/config.xml", "f/g: folder in home/jobs/f/jobs/g/config.xml", "f/g/b c: project in home/jobs/f/jobs/g/jobs/b c/config.xml",
				"skipped home/jobs/empty: it has no config.xml",
				"skipped home/jobs/link: it is a symbolic link; name its target on the command line to import it",
			},
		},
		{
			"branches have their own names",
			fstest.MapFS{
				"jobs/m/config.xml": file(`<multi/>`), "jobs/m/branches/feature-x.abc123/config.xml": branch("feature/x y"), "jobs/m/branches/main/config.xml": file(`<flow-definition/>`),
				"jobs/m/branches/other.def456/config.xml": branch("azAZ09`{[:"), "jobs/m/branches/signs/config.xml": branch("!@$&amp;*()-_=+',."),
			},
			[]string{
				"m: multi in home/jobs/m/config.xml",
				"m/!@$&*()-_=+',.: flow-definition in home/jobs/m/branches/signs/config.xml",
				"m/azAZ09%60%7B%5B%3A: flow-definition in home/jobs/m/branches/other.def456/config.xml",
				"m/feature%2Fx%20y: flow-definition in home/jobs/m/branches/feature-x.abc123/config.xml",
				"m/main: flow-definition in home/jobs/m/branches/main/config.xml",
			},
		},
		{
			"the directory of a job",
			fstest.MapFS{"config.xml": file(`<project/>`), "builds/1/log": file("x")},
			[]string{"home: project in home/config.xml"},
		},
		{
			"the directory of a folder",
			fstest.MapFS{"config.xml": file(`<folder/>`), "jobs/a/config.xml": file(`<project/>`)},
			[]string{"home: folder in home/config.xml", "home/a: project in home/jobs/a/config.xml"},
		},
		{
			"a directory of files and directories",
			fstest.MapFS{"b.xml": file(`<project/>`), "a/config.xml": file(`<project/>`), "c/README": file("x"), "d.xml/config.xml": file(`<project/>`), "notes.txt": file("x")},
			[]string{"a: project in home/a/config.xml", "b: project in home/b.xml", "d.xml: project in home/d.xml/config.xml", "skipped home/c: it has no config.xml"},
		},
		{
			"a home whose configuration is broken",
			fstest.MapFS{"config.xml": file(`<hudson>`), "hudson.tasks.Shell.xml": file(``), "jobs/a/config.xml": file(`<project/>`)},
			[]string{
				"a: project in home/jobs/a/config.xml",
				"skipped home/config.xml: jenkinshome: unusable XML: XML syntax error on line 1: unexpected EOF",
				"skipped home/hudson.tasks.Shell.xml: jenkinshome: unusable XML: the file has no element",
			},
		},
		{"a broken job", fstest.MapFS{"config.xml": file(`<project>`)}, []string{"home: unreadable in home/config.xml"}},
		{"a home without its own configuration", fstest.MapFS{"jobs/a/config.xml": file(`<project/>`)}, []string{"a: project in home/jobs/a/config.xml"}},
		{"an empty directory", fstest.MapFS{}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home, err := jenkinshome.Read(tt.files, "home", "home")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, listed(home)); diff != "" {
				t.Errorf("Read (-want +got):\n%s", diff)
			}
			if shell := home.Shell; (shell == "/bin/bash") != (tt.name == "a whole home") {
				t.Errorf("the shell is %q", shell)
			}
			if (home.Global != nil) != (tt.name == "a whole home") {
				t.Errorf("the configuration of the server is %v", home.Global)
			}
		})
	}
}

// opened counts the files that were opened and not closed.
type opened struct {
	fs.FS
	n int
}

func (o *opened) Open(name string) (fs.File, error) {
	f, err := o.FS.Open(name)
	if err == nil {
		o.n++
	}
	return openedFile{f, o}, err
}

type openedFile struct {
	fs.File
	of *opened
}

func (f openedFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if dir, ok := f.File.(fs.ReadDirFile); ok {
		return dir.ReadDir(n)
	}
	return nil, fs.ErrInvalid
}

func (f openedFile) Close() error {
	f.of.n--
	return f.File.Close()
}

func TestReadClosesAllFiles(t *testing.T) {
	files := &opened{FS: fstest.MapFS{"config.xml": file(`<hudson/>`), "jobs/a/config.xml": file(`<project/>`), "jobs/b/config.xml": file(`<project>`)}}
	if _, err := jenkinshome.Read(files, "home", "home"); err != nil || files.n != 0 {
		t.Errorf("Read left %d files open, error %v", files.n, err)
	}
}

// The error of a file of exactly the largest size comes from what is in it.
func TestReadFileRefusesLargeFiles(t *testing.T) {
	large := append([]byte("</a>"), make([]byte, 32<<20-3)...)
	for _, tt := range []struct {
		text []byte
		want string
	}{{large, "the file is larger than 32 MiB"}, {large[:len(large)-1], "unexpected end"}} {
		got := jenkinshome.ReadFile(fstest.MapFS{"x": {Data: tt.text}}, "x", "/x.xml")
		if !errors.Is(got.Err, jenkinshome.ErrXML) || !strings.Contains(got.Err.Error(), tt.want) {
			t.Errorf("ReadFile of %d bytes: %v, want %v with %q", len(tt.text), got.Err, jenkinshome.ErrXML, tt.want)
		}
	}
}

func TestReadFile(t *testing.T) {
	for _, tt := range []struct{ place, want string }{
		{"/var/lib/jenkins/jobs/deploy/config.xml", "deploy"},
		{"/var/lib/jenkins/jobs/a/jobs/b/jobs/c/config.xml", "a/b/c"},
		{"/jobs/a/jobs/b/config.xml", "a/b"},
		{"/var/lib/jenkins/jobs/m/branches/feature-x.abc/config.xml", "m/feature%2Fx"},
		{"/var/lib/jenkins/jobs/f/jobs/m/branches/feature-x.abc/config.xml", "f/m/feature%2Fx"},
		{"/home/me/deploy/config.xml", "deploy"},
		{"/m/branches/feature-x.abc/config.xml", "m/feature%2Fx"},
		{"/branches/deploy/config.xml", "deploy"},
		{"/jobs/deploy/config.xml", "deploy"},
		{"/a/jobs/b/config.xml", "b"},
		{"/home/me/deploy.xml", "deploy"},
	} {
		if got := jenkinshome.ReadFile(fstest.MapFS{"x": branch("feature/x")}, "x", tt.place); got.FullName != tt.want || got.Err != nil {
			t.Errorf("ReadFile(%s) = %q, %v, want %q", tt.place, got.FullName, got.Err, tt.want)
		}
	}
}

// A file in place of a directory of jobs is an error, and not an empty directory.
func TestReadFails(t *testing.T) {
	for name, files := range map[string]fstest.MapFS{
		"the jobs of a home":        {"config.xml": file(`<hudson/>`), "jobs": file("x")},
		"the jobs of a folder":      {"config.xml": file(`<hudson/>`), "jobs/f/config.xml": file(`<folder/>`), "jobs/f/jobs": file("x")},
		"the branches of a project": {"config.xml": file(`<hudson/>`), "jobs/f/config.xml": file(`<multi/>`), "jobs/f/branches": file("x")},
		"the jobs below a job":      {"config.xml": file(`<project/>`), "jobs": file("x")},
		"the jobs of a loose job":   {"a/config.xml": file(`<folder/>`), "a/jobs": file("x")},
	} {
		if home, err := jenkinshome.Read(files, "home", "home"); err == nil || !strings.HasPrefix(err.Error(), "jenkinshome: list the jobs: ") {
			t.Errorf("%s: %v, %v, want an error", name, listed(home), err)
		}
	}
}

// closed is a directory in which files can be looked up, but which cannot be listed.
type closed struct{ fs.FS }

func (c closed) Open(name string) (fs.File, error) {
	if name == "." {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return c.FS.Open(name)
}

func TestReadFailsIfADirectoryCannotBeListed(t *testing.T) {
	if home, err := jenkinshome.Read(closed{fstest.MapFS{"a.xml": file(`<project/>`)}}, "home", "home"); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Read = %v, %v, want %v", listed(home), err, fs.ErrPermission)
	}
}
