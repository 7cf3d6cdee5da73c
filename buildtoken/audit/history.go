package audit

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"time"
)

// Kept is how many triggers a [History] holds.
const Kept = 1000

// maxTrigger bounds what is kept of one trigger, in bytes.
const maxTrigger = 16 << 10

// Trigger is a trigger of a caller who was known, and what was decided about it.
type Trigger struct {
	Time time.Time `json:"time"`
	// Job is the full name, Action the endpoint.
	Job    string `json:"job"`
	Action string `json:"action"`
	// Token is the name of the token, and Place is where it is defined: the full name of a
	// job, that of a folder with a slash behind it, or "" for the top level. A User, a
	// Webhook or the Operator of the admin API takes the place of a token.
	Token    string     `json:"token,omitempty"`
	Place    string     `json:"place,omitempty"`
	User     string     `json:"user,omitempty"`
	Webhook  string     `json:"webhook,omitempty"`
	Operator bool       `json:"operator,omitempty"`
	Remote   netip.Addr `json:"remote,omitzero"`
	// Post reports whether the method was POST.
	Post bool `json:"post"`
	// Delay and Cause are the texts of the request; nil if there were none.
	Delay *string `json:"delay,omitempty"`
	Cause *string `json:"cause,omitempty"`
	// Params are the parameters that were sent, as far as the job has them. Cut reports
	// that some are left out, because they are too long.
	Params []Param `json:"params,omitempty"`
	Cut    bool    `json:"cut,omitempty"`
	// Admitted reports whether all checks let it through. If not, Check and Rule are those
	// that refused it.
	Admitted bool   `json:"admitted"`
	Check    string `json:"check,omitempty"`
	Rule     string `json:"rule,omitempty"`
}

// Param is a parameter of a [Trigger].
type Param struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
	// Hidden reports that it is a password, whose value is not kept. File reports that
	// Value is the name of an uploaded file.
	Hidden bool `json:"hidden,omitempty"`
	File   bool `json:"file,omitempty"`
}

// History keeps the last triggers in memory. The zero value is ready to use. A History is
// safe for concurrent use.
//
// Each trigger is encoded into memory that an earlier one has left, because strings of a
// request share its whole body, and because adding must cost nothing that a caller notices.
type History struct {
	// mu guards the following.
	mu    sync.Mutex
	slots [Kept][]byte
	next  int
}

// Add adds a trigger. It keeps no part of it.
func (h *History) Add(t *Trigger) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slots[h.next] = t.append(h.slots[h.next][:0])
	h.next = (h.next + 1) % Kept
}

// All returns the triggers, the oldest first.
func (h *History) All() []Trigger {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]Trigger, 0, Kept)
	for i := range Kept {
		if slot := h.slots[(h.next+i)%Kept]; len(slot) > 0 {
			all = append(all, read(slot))
		}
	}
	return all
}

// The flags of an encoded trigger, and of a parameter.
const (
	flagOperator = 1 << iota
	flagPost
	flagAdmitted
	flagCut
	flagDelay
	flagCause
	flagRemote

	flagHidden = 1
	flagFile   = 2
)

func flag(set bool, value byte) byte {
	if set {
		return value
	}
	return 0
}

// append encodes the trigger behind b, which is empty.
func (t *Trigger) append(b []byte) []byte {
	b = append(b, flag(t.Operator, flagOperator)|flag(t.Post, flagPost)|flag(t.Admitted, flagAdmitted)|
		flag(t.Delay != nil, flagDelay)|flag(t.Cause != nil, flagCause)|flag(t.Remote.IsValid(), flagRemote))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Time.UnixNano()))
	if t.Remote.IsValid() {
		addr := t.Remote.As16()
		b = append(b, addr[:]...)
	}
	for _, text := range [...]string{t.Job, t.Action, t.Place, t.Token, t.User, t.Webhook, t.Check, t.Rule} {
		b = appendText(b, text)
	}
	for _, text := range [...]*string{t.Delay, t.Cause} {
		if text != nil {
			b = appendText(b, *text)
		}
	}
	for _, p := range t.Params {
		if p.Hidden {
			p.Value = ""
		}
		if len(p.Name) > maxText || len(p.Value) > maxText || len(b)+len(p.Name)+len(p.Value) > maxTrigger {
			b[0] |= flagCut
			continue
		}
		b = append(b, flag(p.Hidden, flagHidden)|flag(p.File, flagFile))
		b = appendText(appendText(b, p.Name), p.Value)
	}
	return b
}

// maxText bounds one text of a trigger, in bytes.
const maxText = 4 << 10

func appendText(b []byte, text string) []byte {
	text = text[:min(len(text), maxText)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...) //nolint:gosec // at most maxText
}

// read decodes what append has encoded.
func read(b []byte) Trigger {
	flags := b[0]
	t := Trigger{
		Operator: flags&flagOperator != 0, Post: flags&flagPost != 0, Admitted: flags&flagAdmitted != 0, Cut: flags&flagCut != 0,
		Time: time.Unix(0, int64(binary.BigEndian.Uint64(b[1:]))), //nolint:gosec // as it was written
	}
	b = b[9:]
	if flags&flagRemote != 0 {
		t.Remote = netip.AddrFrom16([16]byte(b)).Unmap()
		b = b[16:]
	}
	text := func() string {
		n := 2 + int(binary.BigEndian.Uint16(b))
		text := string(b[2:n])
		b = b[n:]
		return text
	}
	for _, to := range [...]*string{&t.Job, &t.Action, &t.Place, &t.Token, &t.User, &t.Webhook, &t.Check, &t.Rule} {
		*to = text()
	}
	if flags&flagDelay != 0 {
		delay := text()
		t.Delay = &delay
	}
	if flags&flagCause != 0 {
		cause := text()
		t.Cause = &cause
	}
	for len(b) > 0 {
		p := Param{Hidden: b[0]&flagHidden != 0, File: b[0]&flagFile != 0}
		b = b[1:]
		p.Name = text()
		p.Value = text()
		t.Params = append(t.Params, p)
	}
	return t
}
