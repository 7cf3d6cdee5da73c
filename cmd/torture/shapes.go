package main

import "strings"

// The answers of the reading API, as far as they are used.

type queueJSON struct{ Items []itemJSON }

type itemJSON struct {
	Class   string `json:"_class"`
	ID      int64
	Actions []actionJSON
	Task    struct{ URL string }

	InQueueSince               int64
	Timestamp                  int64
	BuildableStartMilliseconds int64
	Why                        string

	Cancelled  bool
	Executable *struct {
		Number int64
		URL    string
	}
}

type actionJSON struct {
	Parameters []struct {
		Name  string
		Value any
	}
	Causes []struct {
		Class            string `json:"_class"`
		ShortDescription string
		Note             *string
	}
}

type jobJSON struct {
	NextBuildNumber int64
	Disabled        bool
	ConcurrentBuild bool
	AllBuilds       []buildJSON
}

// buildsTree requests the fields of buildJSON.
const buildsTree = "number,queueId,result,building,timestamp,duration,description,builtOn," +
	"actions[causes[shortDescription,note],parameters[name,value]]"

type buildJSON struct {
	Number      int64
	QueueID     int64
	Result      string
	Building    bool
	Timestamp   int64
	Duration    int64
	Description string
	BuiltOn     string
	Actions     []actionJSON
}

type statusJSON struct {
	Item  int64
	Job   string
	State string
	Build *int64
}

// endJSON is the answer to a trigger that waited for the end.
type endJSON struct {
	State  string
	Build  *int64
	Result string
}

// content is what every item and build has in common.
type content struct {
	params map[string]string
	// causes counts the notes of triggers with a token.
	causes map[string]int
	// listed counts all causes, and scm those of polls; more is set if some are only counted.
	listed, scm int
	more        bool
}

// maxCauses is how many different causes an item keeps.
const maxCauses = 50

// capped reports whether causes can be missing.
func (c content) capped() bool { return c.more || c.listed >= maxCauses }

func contentOf(actions []actionJSON) content {
	c := content{params: map[string]string{}, causes: map[string]int{}}
	for _, a := range actions {
		for _, p := range a.Parameters {
			switch value := p.Value.(type) {
			case string:
				c.params[p.Name] = value
			case bool:
				c.params[p.Name] = map[bool]string{true: "true", false: "false"}[value]
			}
		}
		for _, cause := range a.Causes {
			switch {
			case strings.HasSuffix(cause.ShortDescription, " more triggers"):
				c.more = true
			case strings.HasPrefix(cause.ShortDescription, "Started by an SCM change"):
				c.scm++
			case cause.Note != nil:
				if c.causes[*cause.Note] == 0 {
					c.listed++
				}
				c.causes[*cause.Note]++
			}
		}
	}
	return c
}
