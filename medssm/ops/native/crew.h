// Threads that sleep between calls, so that a call pays for a wake-up and not for a birth.
//
// After a fork the child sees another process id, leaves the parent's crew alone and gathers its
// own. Callers at the same time do not wait for each other: the second brings threads for its call.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>
#if !defined(_WIN32)
#include <signal.h>
#include <unistd.h>
#endif

class Crew {
 public:
  typedef void (*Job)(void*);
  static Crew& here() {
    static std::atomic<Crew*> current{nullptr};
    Crew* crew = current.load();
    if (crew && crew->process_ == process()) return *crew;
    Crew* fresh = new Crew;  // never freed: its threads live as long as the process
    if (current.compare_exchange_strong(crew, fresh)) return *fresh;
    delete fresh;  // another thread was first
    return *crew;
  }
  // Runs job(context) here and on up to `helpers` other threads at once.
  void run(Job job, void* context, int64_t helpers) {
    if (busy_.exchange(true)) return with_own_threads(job, context, helpers);
    {
      std::lock_guard<std::mutex> hold(mutex_);
      helpers = std::min(helpers, grow(helpers));
      job_ = job;
      context_ = context;
      places_ = helpers;
    }
    for (int64_t i = 0; i < helpers; i++) wake_.notify_one();
    job(context);
    std::unique_lock<std::mutex> hold(mutex_);
    places_ = 0;  // who wakes up only now finds nothing to do
    done_.wait(hold, [&] { return working_ == 0; });
    busy_ = false;
  }

 private:
  Crew() : process_(process()) {}
  static int64_t process() {
#if defined(_WIN32)
    return 0;
#else
    return int64_t(getpid());
#endif
  }
  int64_t grow(int64_t wanted) {
#if !defined(_WIN32)
    sigset_t all, before;  // signals are for the threads of Python
    sigfillset(&all);
    if (size_ < wanted) pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool masked = size_ < wanted;
#endif
    try {
      for (; size_ < wanted; size_++) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
      // the system gives no more threads: those that there are take all items
    }
#if !defined(_WIN32)
    if (masked) pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    return size_;
  }
  void serve() {
    std::unique_lock<std::mutex> hold(mutex_);
    for (;;) {
      wake_.wait(hold, [&] { return places_ > 0; });
      places_--;
      working_++;
      const Job job = job_;
      void* context = context_;
      hold.unlock();
      job(context);
      hold.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }
  static void with_own_threads(Job job, void* context, int64_t helpers) {
    std::vector<std::thread> crew;
    try {
      for (int64_t i = 0; i < helpers; i++) crew.emplace_back(job, context);
    } catch (const std::system_error&) {
    }
    job(context);
    for (auto& thread : crew) thread.join();
  }
  const int64_t process_;
  std::atomic<bool> busy_{false};
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job job_ = nullptr;
  void* context_ = nullptr;
  int64_t size_ = 0, places_ = 0, working_ = 0;
};

// Works through items 0 .. items, each once, on up to `threads` threads.
template <class F> static void parallel_for(int64_t items, int64_t threads, F work) {
  struct Shared {
    F& work;
    const int64_t items;
    std::atomic<int64_t> next{0};
    std::atomic<bool> out_of_memory{false};
  } shared{work, items};
  const Crew::Job job = [](void* context) {
    Shared& s = *(Shared*)context;
    try {
      for (int64_t i; (i = s.next++) < s.items;) s.work(i);
    } catch (const std::bad_alloc&) {
      s.out_of_memory = true;
    }
  };
  const int64_t helpers = std::min(threads, items) - 1;
  if (helpers > 0) Crew::here().run(job, &shared, helpers);
  else job(&shared);
  if (shared.out_of_memory) throw std::bad_alloc();
}
