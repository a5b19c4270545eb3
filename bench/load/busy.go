package load

import (
	"context"
	"sync"
)

// Busy keeps n threads computing until ctx ends.
func Busy(ctx context.Context, n int) {
	var workers sync.WaitGroup
	for range n {
		workers.Go(func() {
			x := uint64(1)
			for ctx.Err() == nil {
				for range 1 << 16 {
					x = x*6364136223846793005 + 1442695040888963407
				}
			}
		})
	}
	workers.Wait()
}
