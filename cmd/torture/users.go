package main

import (
	"context"
	"time"
)

func (h *harness) user(look lookout, srv *server, d dice) *user {
	return &user{lookout: look, d: d, jobs: h.m.all, next: &h.next, dying: srv.dying.Load, configs: &h.configs}
}

// live performs one action after another until the server is gone.
func (u *user) live(ctx context.Context, srv *server) {
	for ctx.Err() == nil {
		select {
		case <-srv.ended:
			return
		default:
		}
		err := u.act(ctx)
		if err != nil && srv.dying.Load() {
			return
		}
		if err != nil && ctx.Err() == nil {
			// The server can die at this moment without being told to, which another check
			// notices.
			select {
			case <-srv.ended:
			case <-ctx.Done():
			default:
				u.m.count(func(c *counts) { c.cutOff++ })
			}
		}
		if u.d.chance(40) {
			pause(ctx, u.d.within(20*time.Millisecond))
		}
	}
}
