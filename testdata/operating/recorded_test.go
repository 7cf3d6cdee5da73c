package operating_test

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/util/annotations"
)

// recorded is a storage of series in memory: that of Prometheus would need a hundred packages.
type recorded struct{ series []storage.Series }

// add adds a series with a value for each interval.
func (r *recorded) add(of labels.Labels, values []parser.SequenceValue, interval time.Duration) {
	var samples []chunks.Sample
	for i, v := range values {
		if !v.Omitted {
			samples = append(samples, sample{(time.Duration(i) * interval).Milliseconds(), v.Value})
		}
	}
	r.series = append(r.series, storage.NewListSeries(of, samples))
}

// Querier implements [storage.Queryable].
func (r *recorded) Querier(int64, int64) (storage.Querier, error) {
	return &storage.MockQuerier{SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
		found := &set{at: -1}
		for _, s := range r.series {
			if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Labels().Get(m.Name)) }) {
				found.series = append(found.series, s)
			}
		}
		return found
	}}, nil
}

// Close implements [storage.Queryable].
func (*recorded) Close(context.Context) error { return nil }

// set iterates over series.
type set struct {
	series []storage.Series
	at     int
}

func (s *set) Next() bool {
	s.at++
	return s.at < len(s.series)
}
func (s *set) At() storage.Series              { return s.series[s.at] }
func (*set) Err() error                        { return nil }
func (*set) Warnings() annotations.Annotations { return nil }

// sample is a value at an instant in milliseconds.
type sample struct {
	t int64
	v float64
}

func (s sample) ST() int64                   { return 0 }
func (s sample) T() int64                    { return s.t }
func (s sample) F() float64                  { return s.v }
func (sample) H() *histogram.Histogram       { return nil }
func (sample) FH() *histogram.FloatHistogram { return nil }
func (sample) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (s sample) Copy() chunks.Sample         { return s }
