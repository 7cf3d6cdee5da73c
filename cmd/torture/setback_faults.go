package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// round starts clients and faults for a while. When it returns, nothing is
// wrong any more.
func (s *setBacks) round(ctx context.Context) error {
	clients, stop := context.WithCancel(ctx)
	defer stop()
	faults, calm := context.WithTimeout(ctx, 10*time.Second+s.d.within(25*time.Second))
	defer calm()
	stream := func(of int) dice { return newDice(s.seed, uint64(s.done.rounds)<<8|uint64(of)) } //nolint:gosec // both are small
	var trigger, breaking sync.WaitGroup
	for k := range s.clients {
		v := &setBackClient{s: s, d: stream(k)}
		trigger.Go(func() { v.live(clients) }) // waited for below
	}
	errs := make([]error, len(s.members)+1)
	for k, n := range s.members {
		d := stream(100 + k)
		breaking.Go(func() { errs[k] = s.torment(faults, n, d) }) // waited for below
	}
	d := stream(200)
	breaking.Go(func() { errs[len(s.members)] = s.replace(faults, d) }) // waited for below
	breaking.Wait()
	pause(ctx, d.within(3*time.Second)) // triggers come after the last fault, too
	stop()
	trigger.Wait()
	return errors.Join(errs...)
}

// torment kills one server and starts it again, suspends it, and cuts it off from the
// database. When it returns, the server has been started again.
func (s *setBacks) torment(ctx context.Context, n *setBackNode, d dice) error {
	length := func() time.Duration {
		if d.chance(60) {
			return d.within(setBackTakeover / 2)
		}
		return setBackTakeover/2 + d.within(setBackTakeover)
	}
	for pause(ctx, d.mostlyShort(14*time.Second)) {
		if err := s.revive(n); err != nil {
			return err
		}
		switch chance := d.IntN(100); {
		case chance < 25:
			if err := s.restart(ctx, n, d); err != nil {
				return err
			}
		case chance < 50:
			over := s.fates.begin(paused, n.name)
			if pauseProcess(n.srv.cmd.Process) == nil {
				pause(ctx, length())
				_ = resumeProcess(n.srv.cmd.Process)
			}
			over()
			s.count(&s.done.pauses)
		case chance < 80:
			over := s.fates.begin(cut, n.name)
			n.proxy.set(pick(d, []flow{held, held, muted, refused}))
			pause(ctx, length())
			if d.chance(50) {
				n.proxy.reset()
			}
			n.proxy.set(flows)
			over()
			s.count(&s.done.cuts)
		default:
			over := s.fates.begin(cut, n.name)
			n.proxy.resetAfter(d.IntN(12))
			pause(ctx, d.mostlyShort(time.Second))
			n.proxy.reset()
			over()
			s.count(&s.done.resets)
		}
	}
	return nil
}

func (s *setBacks) restart(ctx context.Context, n *setBackNode, d dice) error {
	over := s.fates.begin(dead, n.name)
	if d.chance(50) {
		n.srv.stop(20 * time.Second)
		s.count(&s.done.stops)
	} else {
		s.h.dies(n.lifeName())
		n.srv.kill(false)
		s.count(&s.done.kills)
	}
	if err := s.over(n); err != nil {
		return err
	}
	if d.chance(50) {
		pause(ctx, d.within(2*setBackTakeover))
	}
	err := s.start(n)
	over()
	return err
}

// revive starts a server again that could not start, because the connection of its last life
// was still there. Otherwise no server may end by itself.
func (s *setBacks) revive(n *setBackNode) error {
	select {
	case <-n.srv.ended:
	default:
		return nil
	}
	raw, err := os.ReadFile(n.srv.log)
	if err != nil {
		return fmt.Errorf("read the server's log: %w", err)
	}
	if !bytes.Contains(raw, []byte("another server has this name")) {
		s.h.report("%s: the server ended by itself: %v", n.lifeName(), n.srv.err)
		return errFound
	}
	if err := s.over(n); err != nil {
		return err
	}
	return s.start(n)
}

// replace sets the database back again and again, and lets it crash. When it returns, the
// database runs.
func (s *setBacks) replace(ctx context.Context, d dice) error {
	for pause(ctx, d.mostlyShort(8*time.Second)) {
		var err error
		switch chance := d.IntN(100); {
		case chance < 50:
			err = s.putBack(ctx, d)
		case chance < 85:
			err = s.failOver(ctx, d)
		default:
			over := s.gone()
			err = errors.Join(pick(d, []func() error{s.database.Kill, s.database.Crash})(), s.database.Run()) //nolint:contextcheck // it is bounded by itself
			over()
			s.count(&s.done.crashes)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// gone notes that no server reaches the database, until the returned function is called.
func (s *setBacks) gone() (back func()) {
	var all []string
	for _, n := range s.members {
		all = append(all, n.name)
	}
	one, two := s.fates.begin(cut, all...), s.fates.begin(crashed, all...)
	return func() { one(); two() }
}

// putBack saves the data directory, and puts it back later: once, twice, or a directory that
// was saved in an earlier round.
func (s *setBacks) putBack(ctx context.Context, d dice) error {
	if s.saved.IsZero() || d.chance(70) {
		saved, over := now(), s.gone()
		if err := s.database.Save(); err != nil { //nolint:contextcheck // it is bounded by itself
			return err
		}
		over()
		s.saved = saved
	}
	for range 1 + d.IntN(2) {
		if !pause(ctx, d.mostlyShort(10*time.Second)) {
			return nil
		}
		over, ends := s.gone(), s.h.begins(s.saved)
		if err := s.database.PutBack(); err != nil { //nolint:contextcheck // it is bounded by itself
			return err
		}
		ends()
		over()
		s.count(&s.done.restored)
	}
	return nil
}

// failOver makes a standby that lacks the last changes take over.
func (s *setBacks) failOver(ctx context.Context, d dice) error {
	standby, err := s.database.Follower() //nolint:contextcheck // it is bounded by itself
	if err != nil {
		return err
	}
	pause(ctx, d.mostlyShort(4*time.Second))
	saved := now()
	if err := standby.Detach(s.database); err != nil { //nolint:contextcheck // it is bounded by itself
		return errors.Join(err, standby.Stop())
	}
	pause(ctx, d.mostlyShort(6*time.Second))
	over, ends := s.gone(), s.h.begins(saved)
	old := s.database
	if err := errors.Join(old.Kill(), standby.Promote(), s.leadsTo(standby), old.Stop()); err != nil { //nolint:contextcheck // it is bounded by itself
		return errors.Join(err, standby.Stop())
	}
	s.database, s.saved = standby, time.Time{} // what was saved is of the other machine
	ends()
	over()
	s.count(&s.done.promoted)
	return nil
}
