package jenkinsrunner

import (
	"encoding/json"
	"errors"
	"time"
)

// progress is how far a build is. It is saved as the handle of the build.
type progress struct {
	// Target is the job's URL, so that a build does not follow something else after a change of the configuration.
	Target string `json:"target"`
	// Mark is a random text that identifies the trigger.
	Mark string `json:"mark"`
	// Began is when the build began.
	Began time.Time `json:"began"`
	// Sent means that Jenkins may have got the trigger, and that it must not be sent again.
	Sent bool `json:"sent,omitempty"`
	// Next was the number of the job's next build before the trigger was sent, 0 if it is not known.
	Next int64 `json:"next,omitempty"`
	// Item is the ID of the queue item, 0 while it is not known.
	Item int64 `json:"item,omitempty"`
	// Shared means that others wait for the same item, which must not be cancelled.
	Shared bool `json:"shared,omitempty"`
	// Number is the number of the build in Jenkins, 0 while it is not known.
	Number int64 `json:"number,omitempty"`
	// Log is how far its log was copied.
	Log position `json:"log"`
}

// saveEvery is the time between two records of how far the log was copied.
const saveEvery = 10 * time.Second

func (r *Runner) target() string { return r.jenkins.base + r.path }

// save records the progress. After an error it is not known whether it was recorded.
func (l *relay) save() error {
	if l.build.Save == nil {
		return nil
	}
	l.at.Log = l.log.position
	text, err := json.Marshal(l.at)
	if err != nil {
		return err
	}
	l.saved = time.Now()
	return l.build.Save(text)
}

// saveSometimes records the progress if that was not done for a while. Without it, more of the log is repeated after a crash.
func (l *relay) saveSometimes() {
	if l.log.position != l.at.Log && time.Since(l.saved) >= saveEvery {
		_ = l.save()
	}
}

// note records the progress, and writes to the log if that failed. The build goes on: it is found again by its mark.
func (l *relay) note() {
	if err := l.save(); err != nil {
		l.comment("the progress of this build was not saved: %v", err)
	}
}

func (l *relay) restore(handle []byte) error {
	if err := json.Unmarshal(handle, &l.at); err != nil || l.at.Target != l.target() {
		return errors.New("the build cannot be followed any more: the configuration of its runner has changed")
	}
	l.log = follower{position: l.at.Log, marks: []mark{{l.at.Log.Length, l.at.Log.Sum}}}
	l.saved = time.Now()
	return nil
}
