// Command mutate measures how much the tests of a package notice. It makes small
// changes to the package's code, one at a time (mutants), and runs the tests of the
// package and then those of the packages that import it directly, as far as they reach
// the changed line: the coverage of each test is measured first. A mutant that no test
// notices survives: either a test is missing, or the code is not needed, or the mutant
// is equivalent to the original.
//
// Usage, from the root of the repository (or `make mutate PACKAGE=./buildtoken/queue`):
//
//	go run -C tools ./mutate [-root DIR] [-n 100] [-seed N] [-timeout 2m] [-for 10m] [-tests ./PACKAGE,…] [-at FILE.go:LINE,…] PACKAGE…
//
// The sample is drawn at random; -seed draws the same one again, and -at tries only the
// mutants of some lines, for example after a test for a survivor was written. Nothing in the tree
// is changed: the compiler reads the changed files through an overlay. All mutants in
// functions are compiled into one binary, in which one at a time is selected. Mutants that do
// not compile are replaced by others and do not count. Equivalent mutants are listed
// with a reason in equivalent.txt beside this file and do not count either. A mutant with
// which the tests run into their limit is killed, and named: on a busy machine, check it.
//
// A test that fails without any mutant is named and left out. The exit status is 0
// whatever the score, and 1 if the run itself failed.
package main

import (
	"errors"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("mutate: ")
	root := flag.String("root", "..", "the repository's root")
	n := flag.Int("n", 100, "mutants per package; 0 is all of them")
	seed := flag.Uint64("seed", 0, "seed of the sample; 0 draws one")
	timeout := flag.Duration("timeout", 2*time.Minute, "limit for one run of the tests")
	limit := flag.Duration("for", 0, "start no mutant after this time; 0 is no limit")
	tests := flag.String("tests", "", "run only the tests of these `packages`, as in ./buildtoken/queue,./buildtoken/boltqueue, for a quick lower bound")
	at := flag.String("at", "", "try only mutants at these lines, as in `summary.go:23,item.go:7`")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if *seed == 0 {
		*seed = rand.Uint64N(1 << 32)
	}
	run := &runner{n: *n, seed: *seed, timeout: *timeout, tests: *tests, at: *at}
	if *limit > 0 {
		run.until = time.Now().Add(*limit)
	}
	if err := run.all(*root, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

// all tries a sample of each package's mutants.
func (r *runner) all(root string, packages []string) (err error) {
	if r.root, err = filepath.Abs(root); err != nil {
		return err
	}
	if r.scratch, err = os.MkdirTemp("", "mutate"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.scratch)) }()
	// Some tests start a database as another user, who must be able to pass.
	if err := errors.Join(os.Chmod(r.scratch, 0o711), os.Mkdir(r.temporary(), 0o755)); err != nil { //nolint:gosec // as said
		return err
	}
	if r.equivalent, err = readEquivalent(filepath.Join(r.root, "tools/mutate/equivalent.txt")); err != nil {
		return err
	}
	fmt.Printf("seed %d\n", r.seed)
	var total score
	for _, p := range packages {
		s, err := r.sample(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		total.add(s)
		fmt.Printf("%s: %s\n", p, s)
	}
	if len(packages) > 1 {
		fmt.Printf("all: %s\n", total)
	}
	return nil
}
