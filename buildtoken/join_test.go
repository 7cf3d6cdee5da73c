package buildtoken_test

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/job"
)

// adversarial are texts that a careless comparison confuses, in particular one that joins names
// and values with a separator.
var adversarial = []string{
	"", " ", "x", "xy", "y", "A", "B", "A=x", "x&B=y", "x,y", "x;y", "x\ny", "x\r\ny", "x\ty", "x\x1fy", "x\x1ey",
	"x\x01", "\x01x", `"x"`, `x"`, `\x00`, "x B=y", "true", "false", "1", "0", "01", "null", "X", "é", "e\u0301",
	"\ufeffx", "x\u200b", strings.Repeat("x", 511), strings.Repeat("x", 512), strings.Repeat("x", 513),
}

// wish is a trigger of the property test: a job, and the text of each parameter that is given.
type wish struct {
	job   string
	given map[string]string
	file  bool
}

// joinJobs are jobs whose names and parameters resemble each other. Every default is "d",
// except that of E, which is empty.
func joinJobs() []definition.Job {
	text := func(name string, kind job.Kind) job.Param { return job.Param{Name: name, Kind: kind, Default: "d"} }
	a, b, p, e := text("A", job.KindString), text("B", job.KindText), text("P", job.KindPassword), job.Param{Name: "E", Kind: job.KindString}
	flag, file := job.Param{Name: "FLAG", Kind: job.KindBoolean}, job.Param{Name: "FILE", Kind: job.KindFile}
	of := func(name string, params ...job.Param) definition.Job {
		return definition.Job{Name: name, Tokens: opens(), Runner: succeeds(), Params: params}
	}
	return []definition.Job{
		of("app", a, b, p, e, flag, file),
		of("ap", a, b, p, e, flag, file),
		of("permuted", file, flag, e, p, b, a),
		of("words", b, a),
		of("words2", a, b),
		of("sealed", p),
	}
}

// identity is a naive, unambiguous description of what a trigger requests: the job and every
// value, with defaults. Names are sorted, so the order of the definition does not matter.
func (w wish) identity(params []job.Param) string {
	var all []string
	for _, p := range params {
		text, given := w.given[p.Name]
		switch {
		case p.Kind == job.KindFile:
			continue
		case p.Kind == job.KindBoolean:
			text = fmt.Sprint(slices.Contains([]string{"true", "1"}, text))
		case !given:
			text = p.Default
		}
		all = append(all, fmt.Sprintf("%q=%q", p.Name, text))
	}
	slices.Sort(all)
	return fmt.Sprintf("%q %q", w.job, all)
}

// draw returns a random trigger, often similar to an earlier one.
func draw(random *rand.Rand, jobs []definition.Job, earlier []wish) wish {
	text := func() string { return adversarial[random.IntN(len(adversarial))] }
	if len(earlier) > 0 && random.IntN(3) > 0 {
		w := earlier[random.IntN(len(earlier))]
		w.given = maps.Clone(w.given)
		if random.IntN(5) == 0 {
			return w // the same again, also with a file
		}
		w.file = false
		names := slices.Sorted(maps.Keys(w.given))
		switch random.IntN(5) {
		case 0: // without the file, if there was one
		case 1: // two values change places
			if len(names) > 1 {
				x, y := names[random.IntN(len(names))], names[random.IntN(len(names))]
				w.given[x], w.given[y] = w.given[y], w.given[x]
			}
		case 2: // the end of one value moves to the beginning of another
			if len(names) > 1 && w.given[names[0]] != "" {
				first := []rune(w.given[names[0]])
				w.given[names[0]], w.given[names[1]] = string(first[:len(first)-1]), string(first[len(first)-1])+w.given[names[1]]
			}
		case 3: // one is left out, or given as its default
			if len(names) > 0 {
				delete(w.given, names[0])
			} else {
				w.given["E"] = ""
			}
		case 4: // the same values for another job
			w.job = jobs[random.IntN(len(jobs))].Name
		}
		return w
	}
	j := jobs[random.IntN(len(jobs))]
	w := wish{job: j.Name, given: map[string]string{}}
	for _, p := range j.Params {
		switch {
		case p.Kind == job.KindFile:
			w.file = random.IntN(10) == 0
		case p.Kind == job.KindBoolean:
			w.given[p.Name] = []string{"true", "1", "false", "0", ""}[random.IntN(5)]
		case random.IntN(4) > 0:
			w.given[p.Name] = text()
		}
	}
	return w
}

// TestTriggersJoinIfAndOnlyIfTheyAreEqual queues random triggers while all items stay in the
// queue. Each trigger must join the item with the same job and values, if there is one, and no
// other. Triggers with a file must neither join nor be joined.
func TestTriggersJoinIfAndOnlyIfTheyAreEqual(t *testing.T) {
	jobs := joinJobs()
	seed := cmp.Or(*seed, rand.Uint64())
	defer func() {
		if t.Failed() {
			t.Logf("replay: go test ./buildtoken -run TestTriggersJoinIfAndOnlyIfTheyAreEqual -seed %d", seed)
		}
	}()
	check := func(t *testing.T, s *site, triggers int) {
		t.Helper()
		random := rand.New(rand.NewPCG(seed, 0))
		items := map[string]int64{}
		var earlier []wish
		joined := 0
		for n := range triggers {
			w := draw(random, jobs, earlier)
			params := jobs[slices.IndexFunc(jobs, func(j definition.Job) bool { return j.Name == w.job })].Params
			out, err := s.Trigger(t.Context(), s.def, ask(w.job, delayed("1h"), func(t *buildtoken.Trigger) {
				t.Action, t.Values = buildtoken.BuildWithParameters, map[string][]string{}
				for name, text := range w.given {
					t.Values[name] = []string{text}
				}
				if w.file {
					t.Files = map[string]buildtoken.Upload{"FILE": {Name: "f", Size: 1, Open: func() (io.ReadCloser, error) {
						return io.NopCloser(strings.NewReader("x")), nil
					}}}
				}
			}))
			if flag := w.given["FLAG"]; err != nil && !slices.Contains([]string{"true", "1", "false", "0", ""}, flag) {
				continue // the exchange gave the boolean an invalid text
			}
			if err != nil {
				t.Fatalf("trigger %d: Trigger(%+v) = %v", n, w, err)
			}
			earlier = append(earlier, w)
			first, known := items[w.identity(params)]
			switch {
			case w.file || !known:
				if !out.Created {
					t.Fatalf("trigger %d: %+v joined item %d, which has other values", n, w, out.Item.ID)
				}
			case out.Created || out.Item.ID != first:
				t.Fatalf("trigger %d: %+v got item %d, created %v; want it to join item %d", n, w, out.Item.ID, out.Created, first)
			default:
				joined++
			}
			if !w.file {
				items[w.identity(params)] = out.Item.ID
			}
		}
		if joined < triggers/20 || len(items) < triggers/5 {
			t.Errorf("%d of %d triggers joined one of %d items; want more of them to join", joined, triggers, len(items))
		}
	}
	t.Run("file", func(t *testing.T) { check(t, openSite(t, buildtoken.Config{}, jobs...), 3000) })
	t.Run("Postgres", func(t *testing.T) { check(t, newCluster(t, jobs...).join("a"), 400) })
}
