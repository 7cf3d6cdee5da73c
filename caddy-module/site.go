package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// site is what a handler registers with the app.
type site struct {
	definition *definition.Site
	// root is the configured tree, until readTexts replaces it by texts and targets.
	root *Folder
	// texts are the jobs of root.
	texts []jobText
	// targets are the receivers of notifications as configured, by their full names.
	targets map[string][]byte
	// spec is the source of definition, without secrets.
	spec *definition.Spec
	// warnings were found when the site was loaded.
	warnings []Warning
	// public serves clients; operator serves the same jobs to the admin API.
	public, operator *web.Site
	// lines are the places of rules, see [Handler.Lines].
	lines map[string]string
	// addresses are the URLs under which it answers.
	addresses []string
	// place names the handler in errors.
	place string
}

// readTexts sets texts and targets. It must be called before guest modules are loaded,
// because loading removes their text from the tree.
func (s *site) readTexts() error {
	var all []jobText
	if err := addJobTexts(&all, "", s.root, nil); err != nil {
		return err
	}
	s.targets = map[string][]byte{}
	addTargets(s.targets, "", s.root)
	s.root, s.texts = nil, all
	return nil
}

// forget drops the texts, which are long and hold secrets.
func (s *site) forget() { s.root, s.texts, s.targets, s.spec = nil, nil, nil, nil }

// addTargets adds the receivers of notifications of a tree, by their full names.
func addTargets(all map[string][]byte, full string, f *Folder) {
	add := func(full string, notify []Notify) {
		for i := range notify {
			all[job.Join(full, notify[i].Name)] = caddyconfig.JSON(&notify[i], nil)
		}
	}
	add(full, f.Notify)
	for i := range f.Jobs {
		add(job.Join(full, f.Jobs[i].Name), f.Jobs[i].Notify)
	}
	for i := range f.Folders {
		addTargets(all, job.Join(full, f.Folders[i].Name), &f.Folders[i])
	}
}

// differentTarget returns the name of a receiver of notifications that both sites define
// differently, or "". Its notifications are kept by this name, so it must be unique.
func differentTarget(one, other *site) string {
	for _, name := range slices.Sorted(maps.Keys(other.targets)) {
		if first, ok := one.targets[name]; ok && !sameJSON(first, other.targets[name]) {
			return name
		}
	}
	return ""
}

// jobText is a job as configured, with the scopes that it inherits. Two jobs are equal if
// their texts and scopes are.
type jobText struct {
	full string
	// scopes are those of the folders above, outermost first. All jobs of a folder share them.
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

// sameJSON reports whether two JSON texts are equal apart from white space and the order
// of keys.
func sameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// add registers a handler with the app. A job that several handlers define must be
// defined equally in all of them, so that its builds do not depend on which of them
// took the trigger.
func (a *App) add(s *site) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.sites {
		if full := different(other, s); full != "" {
			return fmt.Errorf("job %q is defined differently in %s and in %s; two sites may share a job only if its definition is equal in both, including that of its folders",
				full, other.place, s.place)
		}
		if name := differentTarget(other, s); name != "" {
			return fmt.Errorf("notify %q is defined differently in %s and in %s; give one of them another name", name, other.place, s.place)
		}
	}
	a.sites = append(a.sites, s)
	return nil
}

// different returns the name of the first job that both sites define differently, or "".
func different(one, other *site) string {
	known := make(map[string]jobText, len(one.texts))
	for _, t := range one.texts {
		known[t.full] = t
	}
	for _, t := range other.texts {
		if first, ok := known[t.full]; ok && !first.equal(t) {
			return t.full
		}
	}
	return ""
}
