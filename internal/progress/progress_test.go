package progress

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A transfer is told of every three seconds while it lasts, and not once it is done.
func TestTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		var transfer Transfer
		done := transfer.Tell(10, 4_000_000, func(far string) { told = append(told, far) })
		time.Sleep(tellEvery + time.Second)
		transfer.Files.Add(2)
		transfer.Bytes.Add(1_200_000)
		time.Sleep(tellEvery)
		done()
		time.Sleep(time.Minute)
		require.Equal(t, []string{"0 of 10 files, 0 B of 4.00 MB", "2 of 10 files, 1.20 MB of 4.00 MB"}, told)
	})
}
