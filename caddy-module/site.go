package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// site is what a handler tells the app about itself.
type site struct {
	definition *definition.Site
	// root is the tree as the configuration has it, until texts are made of it.
	root *Folder
	// texts are the jobs of root, once they were asked for.
	texts []jobText
	// spec is what the definition was compiled from, without secrets.
	spec *definition.Spec
	// warnings are what was found when it was loaded.
	warnings []Warning
	// operator serves its jobs to the admin API.
	operator *web.Site
	// addresses are the URLs under which it answers.
	addresses []string
	// place says which handler this is, for errors.
	place string
}

// jobTexts are the jobs as the configuration has them. It must be called before
// modules are loaded, which takes their text out of the tree.
func (s *site) jobTexts() ([]jobText, error) {
	if s.texts == nil && s.root != nil {
		var all []jobText
		if err := addJobTexts(&all, "", s.root, nil); err != nil {
			return nil, err
		}
		s.root, s.texts = nil, all
	}
	return s.texts, nil
}

// forget drops the texts, which are long and hold secrets.
func (s *site) forget() { s.root, s.texts, s.spec = nil, nil, nil }

// jobText is a job as the configuration has it, with what it inherits. Two jobs
// are equal if both are.
type jobText struct {
	full string
	// scopes are those of the folders, from the top; all jobs of a folder share them.
	scopes [][]byte
	text   []byte
}

// addJobTexts lists the jobs of a tree.
func addJobTexts(all *[]jobText, full string, f *Folder, outer [][]byte) error {
	scope, err := json.Marshal(&f.Scope)
	if err != nil {
		return fmt.Errorf("folder %q: %w", full, err)
	}
	scopes := append(outer[:len(outer):len(outer)], scope)
	for i := range f.Jobs {
		name := job.Join(full, f.Jobs[i].Name)
		text, err := json.Marshal(&f.Jobs[i])
		if err != nil {
			return fmt.Errorf("job %q: %w", name, err)
		}
		*all = append(*all, jobText{name, scopes, text})
	}
	for i := range f.Folders {
		if err := addJobTexts(all, job.Join(full, f.Folders[i].Name), &f.Folders[i], scopes); err != nil {
			return err
		}
	}
	return nil
}

func (t jobText) equal(other jobText) bool {
	return sameJSON(t.text, other.text) && slices.EqualFunc(t.scopes, other.scopes, sameJSON)
}

// sameJSON says whether two texts mean the same, also where they hold JSON as
// somebody wrote it: in another order, with other spaces.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// add makes the jobs of a handler known to the app. A job that another handler
// defines too must be defined equally there: its builds have to run the same,
// whichever way a trigger came.
func (a *App) add(s *site) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.sites {
		full, err := different(other, s)
		if err != nil {
			return err
		}
		if full != "" {
			return fmt.Errorf("job %q is defined differently in %s and in %s; two sites may share a job only if all that is said about it is equal, also by its folders",
				full, other.place, s.place)
		}
	}
	a.sites = append(a.sites, s)
	return nil
}

// different names the first job that is defined in both and not equally.
func different(one, other *site) (string, error) {
	ones, err := one.jobTexts()
	if err != nil {
		return "", err
	}
	others, err := other.jobTexts()
	if err != nil {
		return "", err
	}
	known := make(map[string]jobText, len(ones))
	for _, t := range ones {
		known[t.full] = t
	}
	for _, t := range others {
		if first, ok := known[t.full]; ok && !first.equal(t) {
			return t.full, nil
		}
	}
	return "", nil
}
