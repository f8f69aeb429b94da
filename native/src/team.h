// Threads that share each operation of one search, for sentences that come alone. They wait for each other by looking, as an
// operation takes microseconds and sleeping takes longer.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <thread>
#include <vector>

namespace sightline {

class Team {
   public:
    explicit Team(int n) : size(n) {
        for (int number = 1; number < n; number++) others.emplace_back([this, number] { wait_and_work(number); });
    }
    ~Team() {
        over = true;
        round.fetch_add(1, std::memory_order_release);
        for (auto& thread : others) thread.join();
    }
    const int size;

    // part(number) in every thread, the calling one among them; it must not throw.
    template <class Part>
    void run(Part&& part) {
        if (size == 1) return part(0);
        context = &part;
        call = [](void* of, int number) { (*static_cast<std::remove_reference_t<Part>*>(of))(number); };
        busy.store(size - 1, std::memory_order_relaxed);
        round.fetch_add(1, std::memory_order_release);
        part(0);
        look([this] { return busy.load(std::memory_order_acquire) == 0; });
    }

   private:
    static constexpr int LOOKS = 2000;  // before others get the core: it may be one of them that is waited for
    std::vector<std::thread> others;
    std::atomic<int> round{0}, busy{0};
    std::atomic<bool> over{false};
    void* context = nullptr;
    void (*call)(void*, int) = nullptr;

    template <class Until>
    static void look(Until&& until) {
        for (int looks = 0; !until(); looks++) {
            if (looks < LOOKS) _mm_pause();
            else std::this_thread::yield();
        }
    }
    void wait_and_work(int number) {
        for (int seen = 0;;) {
            look([&] { return round.load(std::memory_order_acquire) != seen; });
            seen = round.load(std::memory_order_acquire);
            if (over) return;
            call(context, number);
            busy.fetch_sub(1, std::memory_order_release);
        }
    }
};

}  // namespace sightline
